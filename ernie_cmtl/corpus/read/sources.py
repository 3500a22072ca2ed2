"""The text of a corpus by source, its mixture, and its documents with their running numbers."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ernie_cmtl.corpus.read.documents import read_documents
from ernie_cmtl.corpus.read.encoding_detection import UnknownEncodingError, encoding_of
from ernie_cmtl.corpus.read.encodings import UTF8
from ernie_cmtl.corpus.read.inputs import FileInput, Input, find_inputs
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.read.rows import some
from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.records import Document, Rejection

DEFAULT_SOURCE = "text"


@dataclass(frozen=True)
class SourceInput:
    """One file or dataset, and the source that it belongs to."""

    source: str
    input: Input


Numbered = tuple[int, SourceInput, Document | Rejection]
"""A document or rejection with its running number and where it came from."""


def find_sources(words: Sequence[str], skipped: Counter[str] | None = None) -> list[SourceInput]:
    """Return what `PATH` and `SOURCE=PATH` words name, ordered by source, then by path; a path
    without a name is source `text`.

    skipped: as in `find_inputs`.

    Raises:
        UserError: A path that holds no text, or a file that two sources claim.
    """
    by_source: dict[str, list[str]] = {}
    for word in words:
        name, separator, path = word.partition("=")
        named = bool(separator) and name.isidentifier()
        by_source.setdefault(name if named else DEFAULT_SOURCE, []).append(path if named else word)
    found = [
        SourceInput(name, item)
        for name in sorted(by_source)
        for item in find_inputs(by_source[name], skipped)
    ]
    owners: dict[Input, str] = {}
    for item in found:
        if owners.setdefault(item.input, item.source) != item.source:
            raise UserError(
                f"{item.input.label} is named for two sources: {owners[item.input]} and "
                f"{item.source}"
            )
    return found


def with_known_encodings(
    inputs: Sequence[SourceInput], encodings: Mapping[str, str]
) -> list[SourceInput]:
    """Return inputs with the encodings that were found before: label -> encoding; the others are
    UTF-8.
    """
    return [
        replace(item, input=replace(item.input, encoding=encodings.get(item.input.label, UTF8)))
        if isinstance(item.input, FileInput)
        else item
        for item in inputs
    ]


def foreign_encodings(inputs: Sequence[SourceInput]) -> dict[str, str]:
    """Return the encodings of the files that are not UTF-8: label -> encoding."""
    return {
        item.input.label: item.input.encoding
        for item in inputs
        if isinstance(item.input, FileInput) and item.input.encoding not in (None, UTF8)
    }


def with_encodings(inputs: Sequence[SourceInput], config: ReaderConfig) -> list[SourceInput]:
    """Look up the encoding of each file.

    Raises:
        UserError: That of some cannot be told for sure, or is not the one that was named, and
            `config.lost_files` is strict.
    """
    found: list[SourceInput] = []
    wrong: list[str] = []
    for item in inputs:
        if isinstance(item.input, FileInput):
            try:
                encoding = encoding_of(item.input.path, config.of_source(item.source).encoding)
            except UnknownEncodingError as error:
                encoding = UTF8
                wrong.append(str(error))
            item = replace(item, input=replace(item.input, encoding=encoding))
        found.append(item)
    if wrong and config.lost_files == "strict":
        raise UserError(
            f"{len(wrong)} of {len(inputs)} files cannot be read: {some(wrong)}; name the encoding "
            "with reader.encoding=NAME or reader.source_encodings.SOURCE=NAME, convert the files, "
            "or set reader.lost_files=skip to reject their documents and use the rest"
        )
    return found


def check_mixture(mixture: Mapping[str, float] | None, sources: Sequence[str]) -> None:
    """Refuse weights that do not fit the sources.

    Raises:
        UserError: A source that is not there, or has no weight; a negative weight; weights that do
            not sum to 1.
    """
    if mixture is None:
        return
    there = ", ".join(sources) or "none"
    if unknown := [name for name in mixture if name not in sources]:
        raise UserError(
            f"mixture names {', '.join(unknown)}, which is no source of the corpus; "
            f"{choices(unknown[0], sources, 'sources are')}"
        )
    if missing := [name for name in sources if name not in mixture]:
        raise UserError(
            f"mixture gives no weight to {', '.join(missing)}; sources are {there} (0 leaves one "
            "out)"
        )
    if negative := [f"{name}={weight:g}" for name, weight in mixture.items() if weight < 0]:
        raise UserError(f"mixture weights are negative: {', '.join(negative)}")
    total = sum(mixture.values())
    if abs(total - 1) > 1e-6:
        shown = " + ".join(f"{weight:g}" for weight in mixture.values())
        raise UserError(f"mixture weights must sum to 1; {shown} = {total:g}")


def numbered_documents(
    inputs: Sequence[SourceInput],
    counts: Sequence[int],
    config: ReaderConfig,
    first: int,
    start: int,
) -> Iterator[Numbered]:
    """Yield documents and rejections with their running numbers, from number `start` on.

    counts: documents of each input where they are known, else empty: an input that ends before the
    start is then not opened; first: the number of the first document of the first input.
    """
    number = first
    for place, item in enumerate(inputs):
        if place < len(counts) and number + counts[place] <= start:
            number += counts[place]
            continue
        for document in read_documents(item.input, config.of_source(item.source)):
            if number >= start:
                yield number, item, document
            number += 1
