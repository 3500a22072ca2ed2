"""Knowledge spans: stretches of text that are masked as one unit. One provider a file; its name is the name of the file."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from ernie_cmtl.corpus.manifest import Shard
from ernie_cmtl.errors import UserError
from ernie_cmtl.plugins import Plugins
from ernie_cmtl.records import Language

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class SpanOptions(BaseModel):
    """Options of a provider; one that has any adds them by subclassing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SpanLayer(ABC):
    """One way to find knowledge spans; its layer of the corpus has its name."""

    languages: ClassVar[tuple[Language, ...]] = ("en", "zh")
    source: ClassVar[str]
    """Where it comes from: paper and section, or library."""
    Options: ClassVar[type[SpanOptions]] = SpanOptions

    def __init__(self, options: SpanOptions, language: Language) -> None:
        """Set the provider up for texts of one language.

        Raises:
            UserError: It does not support the language, or an option names something that cannot be used.
        """
        if language not in self.languages:
            name = type(self).__module__.rpartition(".")[2]
            raise UserError(f"span provider {name!r} supports {', '.join(self.languages)}; the corpus is {language!r}")
        self.options = options
        self.language = language


class SpanProvider(SpanLayer):
    """Finds spans in the raw text of one document, while it is annotated."""

    @abstractmethod
    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return first character and one past the last of each span in a text, sorted and without overlaps."""


class FittedSpans(SpanLayer):
    """Learns from the whole training split what to mark, then marks every shard; text that is added later learns nothing."""

    @abstractmethod
    def fit(self, folder: Path, shards: Sequence[Shard], corpus: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
        """Learn from the training documents of the shards in `corpus/shards` and write into a folder all that `mark` needs."""

    @abstractmethod
    def mark(self, folder: Path, shard: Path) -> npt.NDArray[np.uint8]:
        """Return the layer of one shard: 1 where a span starts, 2 where it goes on; uint8 [tokens]."""


_PROVIDERS = Plugins(SpanLayer, "span provider", package=__name__, group="ernie_cmtl.span_providers")


def provider_names() -> list[str]:
    """Return the names of all registered providers, sorted."""
    return _PROVIDERS.names()


def find_provider(name: str) -> type[SpanLayer]:
    """Return the class of a provider.

    Raises:
        UserError: There is no provider of this name (the message lists those that exist), or it is broken.
    """
    return _PROVIDERS.find(name)


def add_provider_module(module: str) -> str:
    """Register the provider of a module that can be imported, for this process, and return its name.

    Raises:
        UserError: The module is broken, does not hold exactly one provider, or its name is taken.
    """
    return _PROVIDERS.add_module(module)
