"""Configuration of a task -> the instance that a run trains, checked against corpus and encoder."""

from collections.abc import Sequence
from dataclasses import replace

from pydantic import ValidationError

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.tokens.tokenizer import load_tokenizer, vocabulary_hash
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.encoder import encoder_family
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.settings import explain
from ernie_cmtl.task import TaskOptions
from ernie_cmtl.task_instance import TaskInstance
from ernie_cmtl.task_registry import find_task

_WHY_MISSING = {
    "letter_case": " "
    "because its tokenizer keeps letter case, which would show the label; prepare it with an "
    "uncased tokenizer"
}
"""Layer -> why `prepare` does not always write it."""


def make_instance(
    name: str,
    row: int,
    config: TaskConfig,
    corpus: Corpus,
    spans: Sequence[str] | None = None,
) -> TaskInstance:
    """Make a task ready for a corpus.

    spans: layers that it masks by where its options name none; None means all of the corpus.

    Raises:
        UserError: The task does not exist, an option is not accepted, or the corpus lacks a layer,
            the language or running text.
    """
    profile = corpus.profile
    if spans is not None:
        if missing := [layer for layer in spans if layer not in profile.spans]:
            raise UserError(
                f"corpus {corpus.folder} has no span layer {missing[0]!r} (spans); it has "
                f"{', '.join(profile.spans) or 'none'}"
            )
        profile = replace(profile, spans=tuple(spans))
    options = task_options(name, config)
    if options.table is None and not corpus.has_text:
        there = ", ".join(corpus.manifest.labelled)
        raise UserError(
            f"task {name!r} names no table, so it reads running text; corpus {corpus.folder} holds "
            f"labelled rows alone ({there}): name a table with the option table, if the task reads "
            f"rows, or add text with prepare --corpus {corpus.folder} --input PATH"
        )
    task = find_task(config.type or name)(options, profile)
    instance = TaskInstance(name, row, task, config.loss_weight)
    _check_fit(instance)
    return instance


def task_options(name: str, config: TaskConfig) -> TaskOptions:
    """Return the options of a task as a run reads them, without a corpus.

    Raises:
        UserError: The task does not exist, or an option is not accepted.
    """
    kind = find_task(config.type or name)
    try:
        return kind.Options.model_validate(config.options)
    except ValidationError as error:
        raise UserError(explain(error, kind.Options, f"tasks.{name}")) from error


def _check_fit(instance: TaskInstance) -> None:
    """Refuse a corpus of another language, or one that lacks what a task reads.

    Raises:
        UserError: The language is not supported or an annotation layer is missing.
    """
    name, task, profile = instance.name, instance.task, instance.task.profile
    if profile.language not in task.languages:
        raise UserError(
            f"task {name!r} supports {', '.join(task.languages)}; the corpus is "
            f"{profile.language!r}"
        )
    table = task.options.table
    if table is not None and table not in profile.tables:
        there = ", ".join(profile.tables) or "none"
        raise UserError(f"task {name!r} asks for table {table!r}; the corpus has: {there}")
    available = task.available_layers
    where, remedy = "the corpus lacks", "add it with prepare --corpus DIR --layers {}"
    if table is not None:
        where = f"table {table!r} lacks"
        remedy = "a table gets the layers that the corpus has when it is stored"
    for layer in (*instance.layers, *task.document_layers):
        if layer not in available:
            why = _WHY_MISSING.get(layer, "; " + remedy.format(layer))
            raise UserError(
                f"task {name!r} needs layer {layer!r}, which {where}{why}; it has "
                f"{', '.join(available)}"
            )


def check_init_from(config: EncoderConfig, corpus: Corpus) -> None:
    """Refuse a checkpoint that the encoder cannot start from, or whose vocabulary is not the
    corpus's; the corpus's may have more tokens after those of the checkpoint.

    Raises:
        UserError: It cannot be loaded, is of another kind, or its tokenizer gives other ids.
    """
    encoder_family(config.architecture).sized(config)
    theirs = load_tokenizer(str(config.init_from))
    if (
        vocabulary_hash(theirs) != corpus.manifest.vocabulary_hash
        and not theirs.get_vocab().items() <= corpus.tokenizer.get_vocab().items()
    ):
        raise UserError(
            f"init_from {config.init_from!r} has another vocabulary than the corpus; prepare the "
            f"corpus with --tokenizer {config.init_from}, or with that tokenizer and tokens that "
            "were added to it"
        )
