"""Entities that a spaCy pipeline finds."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ernie_cmtl.corpus.layers import LayerOptions, SpanProvider
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Language

if TYPE_CHECKING:
    from spacy.language import Language as Pipeline

_NOT_FOR_ENTITIES = (
    *(
        "parser",
        "senter",
        "sentencizer",
        "tagger",
        "morphologizer",
        "attribute_ruler",
        "lemmatizer",
        "trainable_lemmatizer",
    ),
    *("entity_linker", "textcat", "textcat_multilabel"),
)
_CUT_AFTER = ("\n", "。", ". ", " ")


class SpacyEntitiesOptions(LayerOptions):
    """Which pipeline, and which of its entities count."""

    model: str | None = None
    """An installed spaCy model or the folder of a saved pipeline."""
    labels: tuple[str, ...] | None = None
    """Entity labels that count; none means all."""


class SpacyEntities(SpanProvider):
    """Entities of a spaCy pipeline."""

    citation = "ERNIE 1.0, section 3.2; spaCy"
    Options = SpacyEntitiesOptions
    options: SpacyEntitiesOptions

    def __init__(self, options: SpacyEntitiesOptions, language: Language) -> None:
        """Load the pipeline, without the parts that entities do not need.

        Raises:
            UserError: spaCy or the model is not there, the model is of another language, or it
                finds no entities.
        """
        super().__init__(options, language)
        self._pipeline = _load(options.model)
        if self._pipeline.lang not in (language, "xx"):
            raise UserError(
                f"spaCy model {options.model!r} is for {self._pipeline.lang!r}; the corpus is "
                f"{language!r}"
            )
        _disable_what_is_not_needed(self._pipeline, str(options.model))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the place of each entity."""
        labels = self.options.labels
        return [
            (start + entity.start_char, start + entity.end_char)
            for start, piece in _pieces(text, self._pipeline.max_length)
            for entity in self._pipeline(piece).ents
            if labels is None or entity.label_ in labels
        ]


def _load(model: str | None) -> "Pipeline":
    try:
        import spacy
    except ImportError as error:
        raise UserError(
            "layer 'spacy_entities' needs spaCy: pip install 'ernie-cmtl[spacy]'"
        ) from error
    installed = sorted(spacy.util.get_installed_models())
    # spacy.load imports any package that it is given the name of; a configuration may name models
    # alone.
    if model is None or not (model in installed or Path(model).is_dir()):
        has = f"installed are {', '.join(installed)}" if installed else "none is installed"
        raise UserError(
            f"option 'model' of 'spacy_entities' is {model!r}; it must be a folder or an "
            f"installed model ({has})"
        )
    try:
        return spacy.load(model if model in installed else Path(model))
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"spaCy model {model!r} cannot be loaded: {error}") from error


def _disable_what_is_not_needed(pipeline: "Pipeline", model: str) -> None:
    finders = [
        name for name in pipeline.pipe_names if "doc.ents" in pipeline.get_pipe_meta(name).assigns
    ]
    if not finders:
        raise UserError(
            f"spaCy model {model!r} finds no entities; it has "
            f"{', '.join(pipeline.pipe_names) or 'no components'}"
        )
    factories = {name: pipeline.get_pipe_meta(name).factory for name in pipeline.pipe_names}
    # A rule may read what any other component wrote; the learned recogniser reads vectors alone.
    if all(factories[name] == "ner" for name in finders):
        pipeline.select_pipes(
            disable=[name for name, factory in factories.items() if factory in _NOT_FOR_ENTITIES]
        )


def _pieces(text: str, limit: int) -> Iterator[tuple[int, str]]:
    """Cut a text that is too long for the pipeline where it is least likely to part a name; yield
    pieces with their places.
    """
    start = 0
    while len(text) - start > limit:
        ends = (text.rfind(mark, start, start + limit) + len(mark) for mark in _CUT_AFTER)
        stop = next((end for end in ends if end > start + limit // 2), start + limit)
        yield start, text[start:stop]
        start = stop
    yield start, text[start:]
