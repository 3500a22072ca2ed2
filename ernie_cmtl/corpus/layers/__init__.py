"""Annotation layers that a corpus may have: one value a token. One layer a file; its name is the
name of the file.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from ernie_cmtl.corpus.store.manifest import Shard
from ernie_cmtl.errors import UserError
from ernie_cmtl.plugins import Plugins
from ernie_cmtl.records import Array, Language, Vocabulary


class LayerOptions(BaseModel):
    """Options of a layer; one that has any adds them by subclassing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Layer(ABC):
    """One way to make a layer; in the corpus it has the name of its file."""

    languages: ClassVar[tuple[Language, ...]] = ("en", "zh")
    citation: ClassVar[str]
    """Where it comes from: paper and section, or library."""
    marks_spans: ClassVar[bool] = False
    """Does it mark knowledge spans, which are masked as one unit: 1 where one starts, 2 where it
    goes on, 0 elsewhere.
    """
    Options: ClassVar[type[LayerOptions]] = LayerOptions

    def __init__(self, options: LayerOptions, language: Language) -> None:
        """Set the layer up for texts of one language.

        Raises:
            UserError: It does not support the language, or an option names something that cannot be
                used.
        """
        if language not in self.languages:
            name = type(self).__module__.rpartition(".")[2]
            raise UserError(
                f"layer {name!r} supports {', '.join(self.languages)}; the corpus is {language!r}"
            )
        self.options = options
        self.language = language

    @property
    def files(self) -> tuple[str, ...]:
        """Files that the layer was set up from: a build that goes on compares them with what they
        were.
        """
        return ()


class TextLayer(Layer):
    """Marks stretches of the raw text of one document, while it is annotated."""

    continues: ClassVar[int] = 255
    """Value of the tokens of a stretch after its first, whose value is the kind."""

    @abstractmethod
    def marks(self, text: str) -> list[tuple[int, int, int]]:
        """Return first character, one past the last, and kind (1 to 254) of each stretch, sorted
        and without overlaps.
        """


class SpanProvider(TextLayer):
    """Finds knowledge spans in the raw text of one document: stretches of one kind."""

    marks_spans = True
    continues = 2

    def marks(self, text: str) -> list[tuple[int, int, int]]:
        """Return the spans; all are of kind 1."""
        return [(start, stop, 1) for start, stop in self.spans(text)]

    @abstractmethod
    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return first character and one past the last of each span in a text, sorted and without
        overlaps.
        """


class FittedLayer(Layer):
    """Learns from the whole training split, then marks every shard; nothing is learned from text
    that is added later.
    """

    of_documents: ClassVar[bool] = False
    """Has it a row for each document in place of a value for each token."""

    @property
    def learns(self) -> bool:
        """Whether there is something to learn before it can mark."""
        return type(self).fit is not FittedLayer.fit

    def fit(
        self, folder: Path, shards: Sequence[Shard], corpus: Path, vocabulary: Vocabulary
    ) -> None:
        """Learn from the training documents of the shards in `corpus/shards` and write into a
        folder all that `mark` needs.

        A layer that has nothing to learn leaves this out. It may run in any process; the tokenizer
        stands in `corpus/tokenizer`.
        """

    @abstractmethod
    def mark(self, folder: Path, shard: Path) -> Array:
        """Return the layer of one shard, always of the same integer type; [tokens], or [documents,
        ...] of such a layer.
        """


_LAYERS = Plugins(
    Layer, "layer", package=__name__, group="ernie_cmtl.layers", option="--layer-module"
)


def layer_names() -> list[str]:
    """Return the names of all registered layers, sorted."""
    return _LAYERS.names()


def find_layer(name: str) -> type[Layer]:
    """Return the class of a layer.

    Raises:
        UserError: There is no layer of this name (the message lists those that exist), or it is
            broken.
    """
    return _LAYERS.find(name)


def add_layer_module(module: str) -> str:
    """Register the layer of a module that can be imported, for this process, and return its name.

    Raises:
        UserError: The module is broken, does not hold exactly one layer, or its name is taken.
    """
    return _LAYERS.add_module(module)
