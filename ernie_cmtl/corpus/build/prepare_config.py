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
    """Layers and their options; none: those of the language. Where spans overlap, the layer that
    was named first wins.
    """
    mixture: dict[str, float] | None = None
    """Source -> part of the tokens that training draws from it, summing to 1; none: as much as
    there is.
    """
    labelled: dict[str, LabelledConfig] = {}
    """Name -> labelled rows that are stored beside the text."""
    heldout_fraction: float = Field(0.01, ge=0, lt=1)
    """Part of the documents of each source that is held out, chosen by the hash of their text."""
    heldout_minimum: int = Field(16, ge=1)
    """At least so many documents of each source are held out, but never more than a quarter."""
    warn_unknown_rate: float = Field(0.01, ge=0, le=1)
    """A source of whose tokens a larger part is unknown to the vocabulary is warned of."""
    shard_bytes: int = Field(16 << 20, ge=1)
    """Text of one shard, in UTF-8."""

    @field_validator("labelled")
    @classmethod
    def _names(cls, labelled: dict[str, LabelledConfig]) -> dict[str, LabelledConfig]:
        for name in labelled:
            if not name.isidentifier():
                raise ValueError(f"name {name!r} is not made of letters, digits and underscores")
        return labelled
