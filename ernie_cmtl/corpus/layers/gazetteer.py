"""Names from lists: every entry of the files given, wherever it stands in the text."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from pydantic import Field

from ernie_cmtl.corpus.layers import LayerOptions, SpanProvider
from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.records import IntArray, Language

if TYPE_CHECKING:
    from ahocorasick import Automaton


class GazetteerOptions(LayerOptions):
    """Where the entries are, and which count."""

    files: tuple[str, ...] = ()
    """Text files with one entry a line; a `.tsv` file has a header and its entries in one
    column.
    """
    column: str | None = None
    """Column of `.tsv` files; none means the first."""
    minimum_characters: int = Field(2, ge=1)
    """Shortest entry that counts."""
    case_sensitive: bool = True
    """False finds entries in other letter case too."""


class Gazetteer(SpanProvider):
    """Entries of lists: the leftmost first, and of those the longest; whole words where words have
    spaces between them.
    """

    citation = "ERNIE 1.0, section 3.2; lists of names"
    Options = GazetteerOptions
    options: GazetteerOptions

    def __init__(self, options: GazetteerOptions, language: Language) -> None:
        """Read the lists.

        Raises:
            UserError: A file is missing, cannot be read or holds no entry, or the library for it is
                not installed.
        """
        super().__init__(options, language)
        if not options.files:
            raise UserError(
                "layer 'gazetteer' needs the option 'files': text files with one entry a line"
            )
        self._entries = _automaton()
        for file in options.files:
            if not self._add(file):
                raise UserError(
                    f"{file} holds no entry of at least {options.minimum_characters} characters"
                )
        self._entries.make_automaton()

    @property
    def files(self) -> tuple[str, ...]:
        """The lists."""
        return self.options.files

    def _add(self, file: str) -> bool:
        entries = [
            entry
            for entry in _entries(Path(file), self.options.column)
            if len(entry) >= self.options.minimum_characters
        ]
        for entry in entries:
            self._entries.add_word(_bytes(self._folded(entry)))
        return bool(entries)

    def _folded(self, text: str) -> str:
        if self.options.case_sensitive:
            return text
        # A letter whose small form is longer stays as it is, so that places stay the same.
        lower = text.lower()
        return (
            lower
            if len(lower) == len(text)
            else "".join(c if len(c.lower()) > 1 else c.lower() for c in text)
        )

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the place of each entry."""
        data = _bytes(self._folded(text))
        matches = np.array(
            [(last + 1 - length, last + 1) for last, length in self._entries.iter(data)],
            dtype=np.int64,
        )
        found: list[tuple[int, int]] = []
        for start, stop in sorted(_characters(data, matches), key=lambda span: (span[0], -span[1])):
            if (not found or start >= found[-1][1]) and not (
                _within_word(text, start) or _within_word(text, stop)
            ):
                found.append((start, stop))
        return found


def _automaton() -> "Automaton":
    try:
        import ahocorasick
    except ImportError as error:
        raise UserError(
            "layer 'gazetteer' needs pyahocorasick: pip install 'ernie-cmtl[gazetteer]'"
        ) from error
    return ahocorasick.Automaton(ahocorasick.STORE_LENGTH)


def _entries(path: Path, column: str | None) -> Iterator[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"gazetteer file {path} cannot be read: {error}") from error
    if path.suffix.lower() != ".tsv":
        yield from (line.strip() for line in lines)
        return
    header = lines[0].split("\t") if lines else []
    if column is not None and column not in header:
        raise UserError(
            f"gazetteer file {path} has no column {column!r}; {choices(column, header, 'it has')}"
        )
    number = header.index(column) if column is not None else 0
    yield from (
        cells[number].strip()
        for cells in (line.split("\t") for line in lines[1:])
        if len(cells) > number
    )


def _bytes(text: str) -> str:
    """Return the UTF-8 bytes of a text as characters: the search is several times as fast in a
    small alphabet.
    """
    return text.encode().decode("latin-1")


def _characters(data: str, places: IntArray) -> list[list[int]]:
    """Turn places among the bytes of a text into places among its characters."""
    if data.isascii():
        return cast(list[list[int]], places.tolist())
    begins = (np.frombuffer(data.encode("latin-1"), dtype=np.uint8) & 0xC0) != 0x80
    return cast(list[list[int]], np.append(0, np.cumsum(begins))[places].tolist())


def _within_word(text: str, place: int) -> bool:
    """Tell whether a place lies between two letters or digits of a script that puts spaces between
    words.
    """
    return 0 < place < len(text) and _spaced(text[place - 1]) and _spaced(text[place])


def _spaced(character: str) -> bool:
    # Kana, bopomofo, ideographs and all planes of them lie above; Hangul too, which has particles
    # behind its words.
    return character.isalnum() and character < "\u2e80"
