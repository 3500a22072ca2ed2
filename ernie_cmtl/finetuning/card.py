"""The model card of a fine-tuned model."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import transformers
import yaml

_CARD = """---
{metadata}---

# {name}

`{base}`, fine-tuned by the recipe `{task}` ({kind}{labels}) with `ernie_cmtl`. The folder holds the
model of the learning rate {rate:g} and the seed {seed}: {chosen}.

| split | score | this model | all seeds | majority |
|---|---|---:|---:|---:|
{scores}

The main score is `{metric}` on {split}. *All seeds*: mean and sample standard deviation over
{seeds} model(s) of this learning rate. *Majority*: the most frequent class as the answer to all.
Rows: {rows}. Inputs have at most {length} tokens; longer ones are cut.

## Use

```python
{usage}
```

`ernie-cmtl predict {name} --input FILE` does the same for a file of rows: {columns}. The recipe and
all scores are in `finetuning.json`. Written with transformers {version}.
"""
_ONE_TEXT = """from transformers import pipeline

classify = pipeline("text-classification", model=".")  # the path of this folder
print(classify({text}, top_k=None, truncation=True))"""
_ONE, _TWO = '"A text."', '{"text": "A text.", "text_pair": "Another text."}'
_RANKING = """from transformers import pipeline

score = pipeline("text-classification", model=".")  # the path of this folder
candidates = ["A candidate.", "Another candidate."]
pairs = [{"text": "A query.", "text_pair": candidate} for candidate in candidates]
found = [one["score"] for one in score(pairs, truncation=True)]
print(sorted(zip(found, candidates), reverse=True))"""
_TOKENS = """from transformers import pipeline

# A word has the label of its first token.
tag = pipeline("token-classification", model=".", aggregation_strategy="first")  # this folder
print(tag("A text."))"""
_SPAN = """import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

path = "."  # of this folder
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForQuestionAnswering.from_pretrained(path)
question, passage = "A question?", "A passage with the answer."
inputs = tokenizer(question, passage, truncation="only_second", return_tensors="pt")
with torch.no_grad():
    outputs = model(**inputs)
first, last = (logits[0].argmax() for logits in (outputs.start_logits, outputs.end_logits))
print(tokenizer.decode(inputs["input_ids"][0, first : last + 1]))"""
_PIPELINES = {
    "classification": "text-classification",
    "regression": "text-classification",
    "ranking": "text-ranking",
    "tokens": "token-classification",
    "span": "question-answering",
}
"""Kind -> the name of its task on the Hub."""


def model_card(name: str, about: Mapping[str, Any]) -> str:
    """Return the card; about: what `finetuning.json` says."""
    recipe, kept, result = about["recipe"], about["kept"], about["all_models"]
    metadata = {
        "library_name": "transformers",
        "pipeline_tag": _PIPELINES[recipe["kind"]],
        "tags": ["fine-tuned", recipe["kind"]],
    }
    base = about["base_model"]
    # A folder of this machine says nothing to the Hub.
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base) and not Path(base).exists():
        metadata["base_model"] = base
    of_rate = [run for run in result["runs"] if run["learning_rate"] == kept["learning_rate"]]
    labels = ", ".join(about["labels"])
    return _CARD.format(
        metadata=yaml.safe_dump(metadata, sort_keys=False),
        name=name,
        base=base,
        task=about["task"],
        kind=recipe["kind"],
        labels=f": {labels}" if labels else "",
        rate=kept["learning_rate"],
        seed=kept["seed"],
        chosen="the best one on dev" if "dev" in kept else "the first one that was trained",
        scores="\n".join(_rows(kept, result["majority"], of_rate)),
        metric=result["metric"],
        split=result["split"],
        seeds=len(of_rate),
        rows=", ".join(f"{split} {count:,}" for split, count in result["examples"].items()),
        length=about["maximum_length"],
        usage=_usage(recipe),
        columns=", ".join(_columns(recipe)),
        version=transformers.__version__,
    )


def _rows(
    kept: Mapping[str, Any], majority: Mapping[str, Any], of_rate: list[Mapping[str, Any]]
) -> Iterable[str]:
    """Yield a row of the table for each score of each split."""
    for split in ("dev", "test"):
        for name, value in kept.get(split, {}).items():
            found = [run[split][name] for run in of_rate]
            spread = f" ± {stdev(found):.4f}" if len(found) > 1 else ""
            most = majority.get(split, {}).get(name)
            same = "-" if most is None else f"{most:.4f}"
            yield f"| {split} | {name} | {value:.4f} | {mean(found):.4f}{spread} | {same} |"


def _usage(recipe: Mapping[str, Any]) -> str:
    kind = recipe["kind"]
    if kind in ("classification", "regression"):
        return _ONE_TEXT.replace("{text}", _TWO if recipe["columns"]["text_pair"] else _ONE)
    return {"ranking": _RANKING, "tokens": _TOKENS, "span": _SPAN}[kind]


def _columns(recipe: Mapping[str, Any]) -> Iterable[str]:
    """Yield the columns that a file of rows without labels has."""
    for role in ("text", "text_pair"):
        if name := recipe["columns"][role]:
            yield f"`{name}`"
