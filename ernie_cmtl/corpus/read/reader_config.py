"""How inputs become documents: the `reader` section."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ernie_cmtl.corpus.read.encodings import AUTO, UTF8, accepted_encoding
from ernie_cmtl.corpus.read.tables import MAXIMUM_LINE_BYTES

ErrorPolicy = Literal["skip", "strict", "repair"]


def _encoding(name: str) -> str:
    return name if name == AUTO else accepted_encoding(name)


Encoding = Annotated[str, AfterValidator(_encoding)]


class ReaderConfig(BaseModel):
    """How inputs become documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text_documents: Literal["file", "blank_line"] = "file"
    """In `.txt`: a file is one document, or blank lines separate documents."""
    text_field: str = "text"
    """In every other format: the key or column that holds the text."""
    title_field: str | None = None
    """In every format but `.txt`: a key or column that holds the title, kept beside the text; a
    document may have none.
    """
    maximum_characters: int = Field(1_000_000, ge=1_000)
    """A longer document is cut into parts at a paragraph, line or space; each part counts as a
    document.
    """
    maximum_line_bytes: int = Field(MAXIMUM_LINE_BYTES, ge=1_000)
    """A longer line of `.jsonl` or `.tsv`, or row of `.csv`, is rejected without being held in
    memory.
    """
    encoding: Encoding = UTF8
    """Of files that are not UTF-8 throughout: the name of an encoding, or `auto`, which finds out
    for each file and stops the build where that is not sure.
    """
    source_encodings: dict[str, Encoding] = {}
    """Source -> what it has in place of `encoding`."""
    errors: ErrorPolicy = "skip"
    """A document that cannot be used: skip rejects it, strict stops the build, repair puts U+FFFD
    where bytes are no text and rejects it only if more than that is wrong.
    """
    source_errors: dict[str, ErrorPolicy] = {}
    """Source -> what it has in place of `errors`."""
    lost_files: Literal["strict", "skip"] = "strict"
    """A file of which nothing can be used, or that is in another encoding: strict stops the build
    after the first reading, skip rejects its documents like any other.
    """
    maximum_reject_rate: float = Field(0.5, ge=0, le=1)
    """A source of which a larger part is rejected stops the build, once it has a hundred
    documents.
    """

    @property
    def optional_fields(self) -> list[str]:
        """Keys or columns that are read where they are there, beyond the text."""
        return [self.title_field] if self.title_field else []

    def of_source(self, source: str) -> "ReaderConfig":
        """Return the settings for one source."""
        own = {
            "errors": self.source_errors.get(source, self.errors),
            "encoding": self.source_encodings.get(source, self.encoding),
        }
        return self.model_copy(update=own)
