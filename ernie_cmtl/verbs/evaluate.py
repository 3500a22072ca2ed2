"""The verb evaluate: what a run or a model of transformers is worth without further training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.read.tables import read_rows
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.masked_lm import DEVICE, MaskedLanguageModel, load_masked_lm
from ernie_cmtl.evaluation.minimal_pairs import judge_pairs, read_pairs
from ernie_cmtl.evaluation.relatedness import relatedness, upper_layers
from ernie_cmtl.evaluation.similarity import judge_similarity, scored_pairs
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.run.logged_retention import run_retention
from ernie_cmtl.run.open import open_run, score_heldout
from ernie_cmtl.run.run import Run
from ernie_cmtl.settings import validate
from ernie_cmtl.task_instance import run_heads
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.verbs.export import viewed_task


@dataclass(frozen=True)
class Measures:
    """What to judge a model on, beside the held-out tasks of a run."""

    minimal_pairs: Path | None = None
    rest_of_word: bool = False
    """Mask with each token of a minimal pair those after it in its word."""
    sts: Path | None = None
    sources: bool = True
    """Measure the held-out tasks for each source of the text too."""
    related_by: int | None = None
    """Measure how related the tasks of a run are, by the gradients of so many upper layers."""


def evaluate(
    name: str, step: int | None, corpus: Path | None, settings: Sequence[str], measures: Measures
) -> dict[str, Any]:
    """Judge a run folder, or a model of transformers by its name or folder.

    Raises:
        UserError: It is neither, a file is not what it should be, or an option does not go with a
            model that is no run.
    """
    pairs = read_pairs(measures.minimal_pairs) if measures.minimal_pairs else None
    scored = scored_pairs(read_rows(measures.sts, None), measures.sts) if measures.sts else None
    folder = Path(name)
    is_run = RunFolder(folder).is_run or not (pairs or scored)
    if not is_run and measures.related_by is not None:
        raise UserError(
            f"{name} is no run folder: --relatedness compares the tasks of a run; name the run, or "
            "leave --relatedness out"
        )
    if not is_run and (settings or corpus or step is not None):
        raise UserError(f"{name} is no run folder: it takes no --step, --corpus or settings")
    result: dict[str, Any] = (
        evaluate_run(folder, step, corpus, settings, measures.sources, measures.related_by)
        if is_run
        else {"model": name}
    )
    if pairs or scored:
        model = masked_lm_of_run(folder, step, corpus) if is_run else load_masked_lm(name)
        if pairs:
            result["minimal_pairs"] = judge_pairs(model, pairs, measures.rest_of_word)
        if scored:
            result["sts"] = judge_similarity(model, scored)
    return result


def evaluate_run(
    folder: Path,
    step: int | None,
    corpus: Path | None = None,
    settings: Sequence[str] = (),
    by_source: bool = True,
    related_by: int | None = None,
) -> dict[str, Any]:
    """Measure the held-out loss and accuracy of each task of a run, over its mixture and for each
    source of the text.

    settings: `tasks.NAME.OPTION=value` of the held-out examples in place of the run's own, and
    `training.heldout.samples=N`; by_source: measure each source apart too, where there are several;
    related_by: number of upper layers by whose gradients tasks are compared, none: they are not.

    Raises:
        UserError: It is no run folder, a setting is not accepted, or the encoder has fewer layers.
    """
    run, model, ledger = open_run(folder, step, corpus)
    if related_by is not None:
        upper_layers(model.family, related_by)
    run = _with_settings(run, settings)
    workers = Workers(run.config.training.precision)
    # In place: the model moves to the device and computes in the run's precision. No gradient needs
    # the wrapper.
    workers.wrap(model)
    sources = list(run.corpus.manifest.sources)
    apart = sources if by_source and len(sources) > 1 else []
    streams = run.streams("heldout")
    heldout = score_heldout(run, model, workers, streams)
    found = {
        "run": str(folder),
        "corpus": str(run.config.corpus),
        "step": ledger.step,
        "settings": list(settings),
        "heldout": heldout,
        "sources": {
            name: score_heldout(run, model, workers, run.heldout_of(name)) for name in apart
        },
        "retention": run_retention(RunFolder(folder).metrics, run.table, ledger.step),
    }
    if related_by is not None:
        samples, pad_id = run.config.training.heldout.samples, run.corpus.vocabulary.pad_id
        found["relatedness"] = relatedness(
            model, streams, samples, related_by, run.config.data, pad_id, workers
        )
    return found


def _with_settings(run: Run, settings: Sequence[str]) -> Run:
    """Return a run whose held-out examples are made with other settings; its heads must answer them
    as they are.
    """
    for setting in settings:
        if not setting.startswith(("tasks.", "training.heldout.samples=")):
            raise UserError(
                "evaluate takes tasks.NAME.OPTION=value and training.heldout.samples=N, not "
                f"{setting!r}"
            )
    changed = Run(
        validate(RunConfig, run.config.model_dump(mode="json"), settings, f"run {run.config.run}")
    )
    heads = run_heads(run.instances)
    if unknown := [
        name for name, spec in run_heads(changed.instances).items() if heads.get(name) != spec
    ]:
        raise UserError(
            f"run {run.config.run} has no head {unknown[0]!r} as {' '.join(settings)} asks for it"
        )
    return changed


def masked_lm_of_run(
    folder: Path, step: int | None, corpus: Path | None = None
) -> MaskedLanguageModel:
    """Return a run's model as its export would load, without writing one."""
    run, model, _ = open_run(folder, step, corpus)
    row = viewed_task(run, model).row
    stock: Any = model.family.stock_model(model.vocabulary_head, row)
    stock.set_attn_implementation("eager")
    tokenizer = run.corpus.tokenizer
    tokenizer.model_max_length = model.family.config.maximum_positions
    return MaskedLanguageModel(str(folder), stock.to(DEVICE), tokenizer)
