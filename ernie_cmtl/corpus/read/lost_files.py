"""Files that would be lost whole or in large part are an error that says what their bytes look
like.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ernie_cmtl.corpus.read.encoding_detection import NO_TEXT, looks_like
from ernie_cmtl.corpus.read.encodings import UTF8, how_to_read, shown_encoding
from ernie_cmtl.corpus.read.inputs import FileInput
from ernie_cmtl.corpus.read.rows import some
from ernie_cmtl.corpus.read.sources import SourceInput
from ernie_cmtl.records import Document, Rejection

_MOST_FOUND = 100
"""Lost files after which no more are looked for: each takes a moment."""
_MOST_ODD = 1 / 8
_OF_A_FILE = "damaged_"
"""Beginning of the reasons that speak of a file and not of a document."""


@dataclass
class Trouble:
    """What is wrong with the documents of one file."""

    rejected: Counter[str] = field(default_factory=Counter)
    doubtful: int = 0
    """Documents that are used, but are hardly text in UTF-8."""
    example: Rejection | None = None

    def add(self, document: Document | Rejection) -> None:
        """Count a document that was rejected or is doubtful."""
        if isinstance(document, Rejection):
            self.rejected[document.reason] += 1
            self.example = self.example or document
        else:
            self.doubtful += 1

    @property
    def lost(self) -> int:
        """Rejected documents; an empty one is no loss."""
        return self.rejected.total() - self.rejected["empty"]


def is_doubtful(document: Document) -> bool:
    """Tell whether a document may be of another encoding than UTF-8: it is full of zeros or of
    bytes that were replaced.
    """
    # ASCII in UTF-16 without a byte order mark is UTF-8 too, with a zero beside each letter.
    if not document.repaired and "\0" not in document.text:
        return False
    return document.text.count("\0") + document.text.count("\ufffd") > _MOST_ODD * len(
        document.text
    )


def lost_files(
    inputs: Sequence[SourceInput], read: Sequence[int], troubles: Mapping[int, Trouble]
) -> str:
    """Name the files that are in another encoding, what their bytes look like, and the files of
    which nothing can be used.

    read: documents of each input; troubles: those of the inputs that have any, by their place.
    Empty where there are none.
    """
    foreign: dict[str, list[str]] = {}
    useless: list[str] = []
    for place, trouble in troubles.items():
        item = inputs[place].input
        if isinstance(item, FileInput) and 2 * (trouble.lost + trouble.doubtful) > read[place]:
            encoding = looks_like(item.path)
            read_as = shown_encoding(item.encoding or UTF8)
            if encoding not in ("", NO_TEXT, read_as):
                foreign.setdefault(encoding, []).append(item.label)
            elif (
                trouble.lost
                and trouble.rejected.total() == read[place]
                and _is_of_the_file(trouble, encoding)
            ):
                useless.append(f"{item.label} ({_reasons(trouble, encoding)})")
        if len(useless) + sum(map(len, foreign.values())) == _MOST_FOUND:
            break
    parts = [
        f"{len(files)} not in UTF-8 but, by their bytes, in {name}: {some(files)} "
        f"({how_to_read(name)})"
        for name, files in foreign.items()
    ]
    if useless:
        parts.append(f"{len(useless)} without a single usable document: {some(useless)}")
    return f"files would be lost: {'; '.join(parts)}; convert or remove them" if parts else ""


def _is_of_the_file(trouble: Trouble, encoding: str) -> bool:
    """Tell whether the file is at fault; a file that is one document falls under `reader.errors`
    like any other document.
    """
    return (
        trouble.rejected.total() > 1
        or bool(encoding)
        or any(reason.startswith(_OF_A_FILE) for reason in trouble.rejected)
    )


def _reasons(trouble: Trouble, encoding: str) -> str:
    counts = [f"{reason}: {count}" for reason, count in trouble.rejected.most_common()]
    example = trouble.example
    shown = f", as {example.identifier}: {example.detail}" if example and example.detail else ""
    return ", ".join([*([encoding] if encoding else []), *counts]) + shown
