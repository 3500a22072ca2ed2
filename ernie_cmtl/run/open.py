"""A run folder that was written, opened: its configuration, the model of one of its checkpoints,
its held-out scores.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ernie_cmtl.config import RunConfig, load_run_config
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.heldout import HeadScore, heldout_scores
from ernie_cmtl.model.foreign_tensors import UnfitTensorError
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.records import Ledger
from ernie_cmtl.run.earlier_format import with_new_names
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.run.resume import (
    config_of_checkpoint,
    corpus_difference,
    read_checkpoint,
    with_spans,
)
from ernie_cmtl.run.run import Run
from ernie_cmtl.run.splitting import with_decisions
from ernie_cmtl.run.state import RunState
from ernie_cmtl.settings import load
from ernie_cmtl.training.checkpoint import checkpoints, verify_checkpoint
from ernie_cmtl.training.checkpoint_tensors import load_weights
from ernie_cmtl.training.distributed import Workers


def read_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's YAML, a user's or the one that a run wrote; apply `key.sub=value` overrides and
    validate.

    What a run wrote means the run in the folder where it lies now, and may be of an earlier
    version.

    Raises:
        UserError: The file cannot be read, a key is unknown, or a value is not accepted.
    """
    folder = RunFolder(path.parent)
    return _read_own(folder, overrides) if folder.wrote(path) else load_run_config(path, overrides)


def _read_own(folder: RunFolder, overrides: Sequence[str] = ()) -> RunConfig:
    def where_it_lies(settings: dict[str, Any]) -> dict[str, Any]:
        found = with_new_names(settings) | {"run": str(folder.path)}
        if isinstance(corpus := settings.get("corpus"), str):
            found["corpus"] = str(folder.found_corpus(corpus))
        return found

    return load(RunConfig, folder.config, overrides, where_it_lies)


def saved_config(folder: Path) -> RunConfig:
    """Read the configuration of a run folder.

    Raises:
        UserError: It is no run folder.
    """
    if not RunFolder(folder).is_run:
        raise UserError(
            f"{folder} is no run folder: it has no config.yaml; train one with the verb pretrain"
        )
    return _read_own(RunFolder(folder))


def open_run(
    folder: Path, step: int | None = None, corpus: Path | None = None
) -> tuple[Run, MultiTaskModel, Ledger]:
    """Open a run folder with the model of its newest checkpoint, or of the one at a step, and the
    stages that it knows.

    corpus: the run's own at another place, or another one in its place.

    Raises:
        UserError: It is no run folder, has no checkpoint (at that step) or a damaged one, its
            corpus changed since, or the other corpus has another vocabulary.
    """
    config = saved_config(folder)
    checkpoint = _checkpoint(folder, step)
    verify_checkpoint(checkpoint)
    ledger, state = read_checkpoint(checkpoint)
    known = config_of_checkpoint(config, state)
    if corpus:
        known = known.model_copy(update={"corpus": corpus})
    run, state = with_spans(Run(known), state)
    if problem := corpus_difference(run, state):
        if not corpus:
            raise UserError(
                f"corpus {run.config.corpus} is not the one that run {folder} was trained on: "
                f"{problem}; name the place of its own with --corpus DIR, or take this one as it "
                f"is with --corpus {run.config.corpus}"
            )
        _check_vocabulary(run, state, config.corpus)
        there = run.corpus.profile.spans
        spans = tuple(layer for layer in run.config.spans or () if layer in there)
        run = Run(run.config.model_copy(update={"mixture": None, "spans": spans}))
    # The weights come from the checkpoint; where the run once started from need not be there any
    # more.
    encoder = run.config.encoder.model_copy(update={"init_from": None})
    model = Run(run.config.model_copy(update={"encoder": encoder})).make_model()
    try:
        load_weights(checkpoint, model)
    except UnfitTensorError as error:
        # Classes of labelled rows come from the corpus.
        if corpus and error.name.startswith("heads."):
            raise UserError(
                f"corpus {corpus} does not have the classes that run {folder} was trained on "
                f"({error}); prepare it with rows of every class, or leave the task out of it"
            ) from None
        raise
    model.sharing = with_decisions(model.sharing, state.sharing)
    model.route(max(0, ledger.step - 1))
    return run, model, ledger


def _check_vocabulary(run: Run, state: RunState, own: Path) -> None:
    """Refuse a corpus whose vocabulary is not that of the run; own: the run's own corpus, which
    tells the vocabulary where an earlier version did not write it down.
    """
    corpus = run.config.corpus
    vocabulary = state.content.get("vocabulary") or Corpus(own).manifest.vocabulary_hash
    if run.corpus.manifest.vocabulary_hash != vocabulary:
        raise UserError(
            f"corpus {corpus} has another vocabulary than run {run.config.run}; prepare it with "
            "the run's tokenizer"
        )


def _checkpoint(folder: Path, step: int | None) -> Path:
    found = {
        int(path.name.removeprefix("step-")): path
        for path in checkpoints(RunFolder(folder).checkpoints)
    }
    if not found:
        raise UserError(f"run {folder} has no checkpoint yet")
    if step is not None and step not in found:
        raise UserError(
            f"run {folder} has no checkpoint at step {step}; it has {', '.join(map(str, found))}"
        )
    return found[max(found) if step is None else step]


def score_heldout(
    run: Run, model: MultiTaskModel, workers: Workers, streams: list[SampleStream]
) -> dict[str, HeadScore]:
    """Score the model of an opened run on held-out samples, as many of each task as its
    configuration says.
    """
    config, pad_id = run.config, run.corpus.vocabulary.pad_id
    model.to(workers.device)
    return heldout_scores(
        model, streams, config.training.heldout.samples, config.data, pad_id, workers
    )
