"""Export to transformers: stock Ernie classes load it, with the pooler, and it is checked by doing
so.
"""

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    ErnieConfig,
    ErnieForMaskedLM,
    PreTrainedTokenizerBase,
)

from ernie_cmtl.export.folder import export_folder
from ernie_cmtl.model.encoder import task_rows
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.pretrained import quiet_loading
from ernie_cmtl.records import MASKED_TOKEN

_CARD = """---
library_name: transformers
tags: [ernie, fill-mask, continual-multi-task-pretraining]
---

# {name}

An encoder of {layers} layers x {hidden}, pretrained by continual multi-task learning with
`ernie_cmtl`: {steps} steps over the stages {stages}. It loads with the stock classes of
transformers.

```python
from transformers import AutoModel, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path)
inputs = tokenizer("...", return_tensors="pt")
{call}
```

| row | task | held-out loss |
|---|---|---|
{rows}

`pretraining.json` names the heads kept in `pretraining_heads.safetensors`.
"""
_CALL = "outputs = model(**inputs)"
_CALL_WITH_TASK = """task = 0  # row of the task embedding: see the table
outputs = model(**inputs, task_type_ids=torch.full_like(inputs["input_ids"], task))"""


def stock_state(model: MultiTaskModel) -> dict[str, Tensor]:
    """Return the weights under the names of ErnieForMaskedLM, with the pooler that AutoModel looks
    for.
    """
    state = {
        f"ernie.{name}": value
        for name, value in model.encoder.state_dict().items()
        if "task_type_embeddings" not in name
    }
    if rows := task_rows(model.encoder):
        state["ernie.embeddings.task_type_embeddings.weight"] = torch.stack(rows)
    for name, value in model.heads[MASKED_TOKEN].state_dict().items():
        state[f"cls.predictions.{name}"] = value
    return {name: value.detach().cpu().float().contiguous() for name, value in state.items()}


def stock_config(model: MultiTaskModel) -> ErnieConfig:
    """Return the encoder's config as a stock class reads it."""
    settings = model.encoder.config.to_dict()
    for private in [name for name in settings if name.startswith("_") or name == "auto_map"]:
        del settings[private]
    settings["architectures"] = ["ErnieForMaskedLM"]
    return ErnieConfig(**settings)


def export_huggingface(
    model: MultiTaskModel, tokenizer: PreTrainedTokenizerBase, output: Path, about: dict[str, Any]
) -> dict[str, Any]:
    """Write model, tokenizer, heads and card, reload them with the stock classes and compare.

    about: `steps`, `stages`, `tasks` (name -> embedding row) and `losses` (`<instance>/<head>` ->
    held-out loss) for the card. Returns the path and the largest difference of a logit between the
    stock model in memory and the one that loads.

    Raises:
        UserError: The output folder holds what no export wrote, or another process writes there.
        RuntimeError: The reloaded model is not the one that was exported.
    """
    with export_folder(output) as folder:
        config, state = stock_config(model), stock_state(model)
        config.save_pretrained(folder)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        tokenizer.model_max_length = config.max_position_embeddings
        tokenizer.save_pretrained(folder)
        if weights := _head_weights(model):
            save_file(weights, folder / "pretraining_heads.safetensors")
        _write_card(folder, output.absolute().name, config, about)
        difference = _verify(folder, config, state, tokenizer)
    return {"path": str(output), "format": "hf", "max_abs_logit_difference": difference}


def _head_weights(model: MultiTaskModel) -> dict[str, Tensor]:
    """Return the weights of the heads that the stock class has no place for."""
    heads = {name: head for name, head in model.heads.items() if name != MASKED_TOKEN}
    return {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, head in heads.items()
        for key, value in head.state_dict().items()
    }


def _write_card(folder: Path, name: str, config: ErnieConfig, about: dict[str, Any]) -> None:
    (folder / "pretraining.json").write_text(
        json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8"
    )
    rows = []
    for task, row in about["tasks"].items():
        losses = ", ".join(
            f"{key}: {loss:.3f}"
            for key, loss in about["losses"].items()
            if key.startswith(f"{task}/")
        )
        rows.append(f"| {row} | {task} | {losses or '-'} |")
    card = _CARD.format(
        name=name,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        steps=about["steps"],
        stages=", ".join(about["stages"]),
        call=_CALL_WITH_TASK if config.use_task_id else _CALL,
        rows="\n".join(rows),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


@torch.no_grad()
def _verify(
    folder: Path, config: ErnieConfig, state: dict[str, Tensor], tokenizer: PreTrainedTokenizerBase
) -> float:
    """Load the export with both Auto classes; return the largest logit difference to the weights
    that were written.
    """
    reference = ErnieForMaskedLM(config)
    reference.train(False)
    reference.load_state_dict(state, strict=False)
    with quiet_loading():
        loaded, report = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
        encoder, encoder_report = AutoModel.from_pretrained(folder, output_loading_info=True)
    loaded.train(False)
    if missing := sorted(set(report["missing_keys"]) | set(encoder_report["missing_keys"])):
        raise RuntimeError(f"the export lacks weights: {', '.join(missing)}")
    if not torch.equal(encoder.pooler.dense.weight, state["ernie.pooler.dense.weight"]):
        raise RuntimeError("the pooler of the export is not the trained one")
    length = min(64, config.max_position_embeddings)
    token_ids = torch.arange(2 * length).remainder(config.vocab_size).view(2, length)
    token_ids[:, length // 2] = cast(int, tokenizer.mask_token_id)
    difference = 0.0
    for row in range(config.task_type_vocab_size):
        task_ids = torch.full_like(token_ids, row)
        scores = [
            m(input_ids=token_ids, task_type_ids=task_ids).logits for m in (reference, loaded)
        ]
        difference = max(difference, float((scores[0] - scores[1]).abs().max()))
    if difference > 1e-5:
        raise RuntimeError(
            f"the reloaded export computes other logits: they differ by up to {difference}"
        )
    return difference
