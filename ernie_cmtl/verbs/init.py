"""The verb init: a commented configuration to begin with."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ernie_cmtl.atomic_files import write_text
from ernie_cmtl.config import RunConfig, TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.printable import printable
from ernie_cmtl.run.instances import make_instance
from ernie_cmtl.run.run import Run
from ernie_cmtl.scheduling.stages import StageTable
from ernie_cmtl.settings import validate
from ernie_cmtl.shipped_configs import shipped_config


@dataclass(frozen=True)
class Size:
    """Sizes of an encoder, and of the steps that suit it."""

    layers: int
    hidden_size: int
    attention_heads: int
    row_length: int
    maximum_length: int
    rows: int
    rows_per_group: int
    learning_rate: float
    smallest_corpus: int
    """Tokens of training text from which on it is chosen."""

    @property
    def layer_parameters(self) -> int:
        """Parameters of its layers."""
        return self.layers * (12 * self.hidden_size**2 + 13 * self.hidden_size)


SIZES = {
    "tiny": Size(2, 128, 2, 128, 128, 32, 32, 2e-3, 0),
    "small": Size(4, 256, 4, 512, 128, 8, 8, 1e-3, 5_000_000),
    "medium": Size(8, 512, 8, 512, 256, 64, 16, 5e-4, 200_000_000),
    "base": Size(12, 768, 12, 512, 512, 256, 16, 3e-4, 1_000_000_000),
}
TOKENS_PER_PARAMETER = 20
"""Tokens of training for each parameter, after Hoffmann et al. 2022 (arXiv 2203.15556)."""
MOST_EPOCHS = 40
"""More rounds through the same text teach little."""
LEAST_STEPS = 200
_TASKS = ("knowledge_masking", "capitalization", "token_document_relation", "sentence_reordering")
_MASKING_SHARE = 0.6
_FEWEST_STEPS = 40
"""With fewer steps a task may get none in some stage."""
_TEMPLATE = """\
# Written by `ernie-cmtl init` for {corpus}: {text_tokens:,} tokens of training text ({language}).
#   ernie-cmtl plan {file}        shows stages, tokens and operations before anything is trained
#   ernie-cmtl pretrain {file}
#   ernie-cmtl report {run} --output report.html
run: {run_in_yaml}
corpus: {corpus_in_yaml}
seed: 1
unit: tokens # Budgets below are tokens.
preset:
  # Each stage adds a task and reviews the earlier ones; every example has masked tokens too.
  # Controls at the same cost: preset.name=continual (one task after the other) or =multitask.
  name: continual_multitask_mlm
  # {tokens:,} tokens in all: {why}
  tasks:
{tasks}
data:
  row_length: {size.row_length} # Samples are packed into rows of this length.
  maximum_length: {size.maximum_length} # Maximum tokens of a sample.
  rows: {size.rows} # Rows per step ({step:,} tokens). Half the rows take half the time.
  rows_per_group: {size.rows_per_group} # Rows that a worker processes at once.
encoder: # {name}: {parameters:.1f}M parameters with {vocabulary:,} entries in the vocabulary
  positions: rotary # Learns in a tenth of the tokens of learned positions.
  layers: {size.layers}
  hidden_size: {size.hidden_size}
  attention_heads: {size.attention_heads}
  maximum_positions: 512
  dropout: {dropout}
optimizer:
  schedule: wsd # Warm-up, flat, short decay: a longer run can start from before the decay.
  learning_rate: {size.learning_rate:g} # Smaller for larger encoders.
  warmup_steps: {warmup}
  decay_fraction: 0.1
training:
  log_every: {log_every}
  heldout: {{samples: 512}} # Measured at the end of each stage.
  checkpoints: {{every: {every}, keep: 2}}
"""


def init(
    file: Path,
    corpus: Path | None,
    source: str | None,
    size: str | None,
    tokens: int | None,
    run: Path | None,
) -> dict[str, Any]:
    """Write a configuration for a corpus, or a copy of a shipped one, and return what it holds.

    corpus: a folder that `prepare` wrote; source: name of a shipped configuration; size: of the
    encoder, None means as the corpus suggests; tokens: of training, None means as the size
    suggests; run: folder of the run, None means one named as the file.

    Raises:
        UserError: The file exists, neither corpus nor source is given, or something does not fit.
    """
    if file.exists():
        raise UserError(f"{file} exists; choose another name, or remove it")
    run = run or Path("runs") / file.stem
    if source is None:
        if corpus is None:
            raise UserError(
                "name --corpus DIR, for which a configuration is made, or --from NAME, a shipped "
                "one to copy (--list shows them)"
            )
        text = _for_corpus(file, Corpus(corpus), corpus, run, size, tokens)
    else:
        if size or tokens:
            raise UserError("--size and --tokens go with --corpus, not with --from")
        text = _copied(source, corpus, run)
    found = _described(text, source)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, text)
    return {"path": str(file), "run": str(run), "from": source} | found


def _copied(source: str, corpus: Path | None, run: Path) -> str:
    """Return a shipped configuration with other folders; its comments stay."""
    text = shipped_config(source).read_text(encoding="utf-8")
    if re.search(r"^run: ", text, re.MULTILINE):
        text = _with_path(text, "run", run)
        text = _with_path(text, "corpus", corpus) if corpus else text
    elif corpus:
        raise UserError(f"{source} is a recipe of fine-tuning, which has no corpus")
    return text


def _with_path(text: str, key: str, path: Path) -> str:
    line = f"{key}: {_in_yaml(path)}"
    return re.sub(rf"^{key}: .*$", lambda _: line, text, count=1, flags=re.MULTILINE)


def _in_yaml(path: Path) -> str:
    """Return a path as a value of YAML, in quotes where it needs them."""
    text: str = yaml.safe_dump(str(path), allow_unicode=True, width=10_000)
    return text.removesuffix("...\n").rstrip("\n")


def _described(text: str, source: str | None) -> dict[str, Any]:
    """Return steps and tasks of a configuration of a run; nothing of a recipe."""
    if source and source.startswith("finetune/"):
        return {}
    config = validate(RunConfig, yaml.safe_load(text), (), "the new configuration")
    table = StageTable(config.stages)
    if not source:
        # A task that does not fit the corpus is refused now, not when training begins.
        _ = Run(config).instances
    return {"steps": table.steps, "tasks": list(table.tasks), "corpus": str(config.corpus)}


def _for_corpus(
    file: Path, opened: Corpus, corpus: Path, run: Path, size: str | None, tokens: int | None
) -> str:
    manifest = opened.manifest
    text_tokens = sum(shard.train.tokens for shard in manifest.shards)
    if not text_tokens:
        raise UserError(
            f"corpus {corpus} holds labelled rows alone; begin with --from sentiment_and_topics"
        )
    name = size or _size_for(text_tokens)
    if name not in SIZES:
        raise UserError(f"unknown --size {name!r}; {choices(name, SIZES, 'accepted are')}")
    chosen = SIZES[name]
    parameters = chosen.layer_parameters + manifest.vocabulary_size * chosen.hidden_size
    step = chosen.rows * chosen.row_length
    wanted, why = (
        _tokens_for(parameters, text_tokens, step) if tokens is None else (tokens, "given")
    )
    steps = wanted // step
    if steps < _FEWEST_STEPS:
        raise UserError(
            f"--tokens {wanted:,} is less than {_FEWEST_STEPS} steps of {step:,} tokens"
        )
    budgets = _budgets([task for task in _TASKS if _fits(task, opened)], wanted)
    return _TEMPLATE.format(
        file=printable(str(file)),
        corpus=printable(str(corpus)),
        run=printable(str(run)),
        corpus_in_yaml=_in_yaml(corpus),
        run_in_yaml=_in_yaml(run),
        text_tokens=text_tokens,
        language=manifest.language,
        tokens=wanted,
        why=why,
        tasks="\n".join(f"    {task}: {{budget: {budget}}}" for task, budget in budgets.items()),
        size=chosen,
        name=name,
        step=step,
        parameters=parameters / 1e6,
        vocabulary=manifest.vocabulary_size,
        dropout=0.1 if wanted > 10 * text_tokens else 0.0,
        warmup=max(10, min(2000, steps // 20)),
        log_every=max(1, min(100, steps // 100)),
        every=max(10, min(1000, steps // 10)),
    )


def _size_for(text_tokens: int) -> str:
    fitting = [name for name, size in SIZES.items() if text_tokens >= size.smallest_corpus]
    return fitting[-1]


def _tokens_for(parameters: int, text_tokens: int, step: int) -> tuple[int, str]:
    """Return how many tokens to train on, and why."""
    least, most = LEAST_STEPS * step, MOST_EPOCHS * text_tokens
    wanted = TOKENS_PER_PARAMETER * parameters
    if min(wanted, most) < least:
        return least, f"{LEAST_STEPS} steps; encoder or text is small"
    if wanted <= most:
        return wanted, f"{TOKENS_PER_PARAMETER} for each parameter of the encoder"
    return most, f"{MOST_EPOCHS} rounds through the text; more teach little"


def _fits(task: str, corpus: Corpus) -> bool:
    """Tell whether a task works on a corpus: its language, and the layers that it reads."""
    try:
        make_instance(task, 0, TaskConfig(), corpus)
    except UserError:
        return False
    return True


def _budgets(tasks: Sequence[str], tokens: int) -> dict[str, int]:
    """Return the tokens of each task: most of them for masking, the rest in equal parts."""
    others = tasks[1:]
    each = round(tokens * (1 - _MASKING_SHARE) / len(others))
    return {tasks[0]: tokens - each * len(others)} | dict.fromkeys(others, each)
