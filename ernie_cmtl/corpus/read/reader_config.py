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
    """In `.txt`: each file is one document, or blank lines separate documents."""
    text_field: str = "text"
    """In all other formats: the key or column that holds the text."""
    title_field: str | None = None
    """In all formats except `.txt`: the key or column that holds the title. Titles are stored apart
    from the text; a document may have none.
    """
    maximum_characters: int = Field(1_000_000, ge=1_000)
    """Maximum characters of a document. A longer one is split at a paragraph, line or space; each
    part counts as a document.
    """
    maximum_line_bytes: int = Field(MAXIMUM_LINE_BYTES, ge=1_000)
    """Maximum bytes of a line of `.jsonl` or `.tsv`, or a row of `.csv`. A longer one is rejected
    without loading it.
    """
    encoding: Encoding = UTF8
    """Encoding of files that are not valid UTF-8: its name, or `auto` to detect it for each file.
    If the detection is uncertain, the build stops.
    """
    source_encodings: dict[str, Encoding] = {}
    """Source -> its own value of `encoding`."""
    errors: ErrorPolicy = "skip"
    """Handling of a document that cannot be used. skip: reject it. strict: stop the build. repair:
    replace invalid bytes by U+FFFD, and reject it only if it has other errors.
    """
    source_errors: dict[str, ErrorPolicy] = {}
    """Source -> its own value of `errors`."""
    lost_files: Literal["strict", "skip"] = "strict"
    """Handling of a file that is in another encoding or has nothing usable. strict: stop the build
    after the first pass. skip: reject its documents.
    """
    maximum_reject_rate: float = Field(0.5, ge=0, le=1)
    """Maximum rejected share of a source. A source with at least a hundred documents and a larger
    share stops the build.
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
