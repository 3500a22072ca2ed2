"""How a corpus is built from text: the keys of `prepare`."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ernie_cmtl.corpus.build.labelled_table import LabelledConfig
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.tokens.tokenizer import TokenizerConfig
from ernie_cmtl.records import Language

_OF_EVERY_LANGUAGE = (
    "collocations",
    "document_counts",
    "inverse_document_frequency",
    "discourse_markers",
    "retrieved",
)
DEFAULT_LAYERS: Mapping[Language, tuple[str, ...]] = {
    "en": ("capitalized_names", *_OF_EVERY_LANGUAGE),
    "zh": ("tagged_names", *_OF_EVERY_LANGUAGE),
}
ADDABLE = ("reader", "layers", "labelled", "mixture")
"""Settings that may be given when something is added to a corpus; the others stay as it was
built.
"""


class PrepareConfig(BaseModel):
    """How a corpus is built from text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reader: ReaderConfig = ReaderConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    layers: dict[str, dict[str, Any]] | None = None
    """Layers and their options. none: those of the language. If spans overlap, the layer named
    first wins.
    """
    mixture: dict[str, float] | None = None
    """Source -> its share of the training tokens; shares sum to 1. none: in proportion to the size
    of each source.
    """
    labelled: dict[str, LabelledConfig] = {}
    """Name -> labelled rows that are stored beside the text."""
    heldout_fraction: float = Field(0.01, ge=0, lt=1)
    """Held-out fraction of the documents of each source, chosen by the hash of their text."""
    heldout_minimum: int = Field(16, ge=1)
    """Minimum number of held-out documents per source, but never more than a quarter."""
    warn_unknown_rate: float = Field(0.01, ge=0, le=1)
    """Warn about a source if a larger fraction of its tokens is unknown."""
    shard_bytes: int = Field(16 << 20, ge=1)
    """Bytes of UTF-8 text in one shard."""

    @field_validator("labelled")
    @classmethod
    def _names(cls, labelled: dict[str, LabelledConfig]) -> dict[str, LabelledConfig]:
        for name in labelled:
            if not name.isidentifier():
                raise ValueError(f"name {name!r} is not made of letters, digits and underscores")
        return labelled
