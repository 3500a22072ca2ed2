"""Files that would be lost whole or in large part are an error that says what their bytes look
like.
"""

import codecs
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ernie_cmtl.corpus.read.compression import DamagedFileError, open_bytes
from ernie_cmtl.corpus.read.inputs import FileInput
from ernie_cmtl.corpus.read.sources import SourceInput
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection

NO_TEXT = "no known text encoding"
_SAMPLE_BYTES = 1 << 16
_MOST_NAMED = 3
_MOST_FOUND = 100
"""Lost files after which no more are looked for: each takes a moment."""
_MOST_ODD = 1 / 8
_USUAL = ("cp1252", "shift_jis", "euc_jp")
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
            if encoding not in ("", NO_TEXT):
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
        f"{len(files)} not in UTF-8 but, by their bytes, in {name}: {_some(files)} (convert with "
        f"iconv -f {name} -t UTF-8)"
        for name, files in foreign.items()
    ]
    if useless:
        parts.append(f"{len(useless)} without a single usable document: {_some(useless)}")
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


def _some(names: Sequence[str]) -> str:
    more = [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return ", ".join([*names[:_MOST_NAMED], *more])


def looks_like(path: Path) -> str:
    """Return the encoding that the bytes of a file look like; empty where that is UTF-8, if a
    damaged one, or cannot be told.
    """
    sample = b"" if path.name.endswith(".parquet") else _sample(path)
    text = sample.decode(errors="surrogateescape")
    invalid = sum("\ud800" <= character <= "\udfff" for character in text)
    others = sum(character > "\x7f" for character in text) - invalid
    if sample.count(0) <= _MOST_ODD * len(sample) and others >= invalid:
        return ""
    # Only where something is wrong: it takes a while to import.
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    if not best:
        return NO_TEXT
    # Several may give the same text.
    name = next((name for name in _USUAL if name in best.could_be_from_charset), best.encoding)
    return name.upper().replace("UTF_16_", "UTF-16").replace("UTF_32_", "UTF-32").replace("_", "-")


def _sample(path: Path) -> bytes:
    """Return bytes of a file from the first line on that is not UTF-8 or has zeros; none where
    there is no such line.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open_bytes(path) as stream:
            for line in iter(partial(stream.readline, _SAMPLE_BYTES), b""):
                if _is_utf8(line, decoder):
                    continue
                sample = line + stream.read(_SAMPLE_BYTES)
                # A character that is cut in two would rule out its encoding.
                end = sample.rfind(b"\n", len(sample) // 2) + 1
                return sample[: len(sample) // 4 * 4] if 0 in sample or not end else sample[:end]
    except (DamagedFileError, UserError):
        pass
    return b""


def _is_utf8(line: bytes, decoder: codecs.IncrementalDecoder) -> bool:
    try:
        decoder.decode(line)
    except UnicodeDecodeError:
        return False
    return 0 not in line
