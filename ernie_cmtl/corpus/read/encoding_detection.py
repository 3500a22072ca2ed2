"""The encoding of a file by its bytes: what they look like, and whether that is sure."""

import codecs
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ernie_cmtl.corpus.read.compression import DamagedFileError, has_ending, open_bytes
from ernie_cmtl.corpus.read.encodings import AUTO, UTF8, family_of, shown_encoding
from ernie_cmtl.errors import UserError

NO_TEXT = "no known text encoding"
_WITH_MARK = {"utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)} | {
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
}
_SAMPLE_BYTES = 1 << 16
_MOST_ODD = 1 / 8
_USUAL = ("cp1252", "shift_jis", "euc_jp")
_LEAST_CHARACTERS = 100
"""Fewer characters that are not ASCII are too few to tell the encoding for sure."""
_SIMILAR_CHAOS = 0.05
_MOST_CANDIDATES = 4


class UnknownEncodingError(UserError):
    """The encoding of a file cannot be told, or is not the one that was named."""


@dataclass(frozen=True)
class _Guess:
    """What the bytes of a file that is not UTF-8 look like."""

    names: tuple[str, ...]
    """Encodings in which they are likely text, the most likely first; empty where there is none."""
    texts: dict[str, str]
    """Encoding -> the sample read in it, of all in which it may be text."""
    is_sure: bool = False


def encoding_of(path: Path, wanted: str) -> str:
    """Return the encoding in which a file is to be read: UTF-8 wherever it is UTF-8, if a damaged
    one, else the one that is wanted, or the one that `auto` finds.

    Raises:
        UnknownEncodingError: `auto` is not sure, or the bytes are surely in another encoding than
            the one that was named.
    """
    sample = b"" if wanted == UTF8 else _foreign_sample(path, to_the_end=True)
    if not sample:
        return UTF8
    guess = _guess(sample)
    if wanted == AUTO:
        family = family_of(guess.names[0]) if guess.is_sure else ()
        if found := next((name for name in family if _decodes(path, name)), None):
            return found
        names = list(map(shown_encoding, guess.names[:_MOST_CANDIDATES]))
        nothing = "there is none in which all of it is text"
        may_be = f"it may be in {' or '.join(names)}" if names else nothing
        raise UnknownEncodingError(f"{path}: its encoding cannot be told for sure; {may_be}")
    if not sample.startswith(_WITH_MARK.get(wanted, b"")):
        raise UnknownEncodingError(
            f"{path}: it has no byte order mark, so {wanted} does not say how to read it; "
            f"{wanted}-le or {wanted}-be does"
        )
    if not _may_be(wanted, guess, sample):
        raise UnknownEncodingError(
            f"{path}: it is not in {wanted} but, by its bytes, in {shown_encoding(guess.names[0])}"
        )
    return wanted


def looks_like(path: Path) -> str:
    """Return the encoding that the bytes of a file look like; empty where that is UTF-8, if a
    damaged one, or cannot be told.
    """
    sample = _foreign_sample(path)
    if not sample:
        return ""
    names = _guess(sample).names
    return shown_encoding(names[0]) if names else NO_TEXT


def encoding_hint(path: Path) -> str:
    """Return what to add to a message about a file in another encoding; empty where it is in
    none.
    """
    name = looks_like(path)
    if name in ("", NO_TEXT):
        return ""
    return f"; by its bytes, it is in {name}: convert it with iconv -f {name} -t UTF-8"


def _may_be(wanted: str, guess: _Guess, sample: bytes) -> bool:
    """Tell whether the encoding that was named may be that of a file, for all that its bytes
    say.
    """
    text = _read_as(wanted, sample)
    family = family_of(wanted)
    # Those of one byte for a character make some text of any bytes, and are hardly told apart.
    if not guess.names or not (guess.is_sure or (family and _letters(wanted, text))):
        return True
    readings = {guess.names[0]: guess.texts[guess.names[0]]} if guess.is_sure else guess.texts
    return any(name in family or found == text for name, found in readings.items())


def _letters(encoding: str, text: str) -> bool:
    """Tell whether a text has letters enough to tell its encoding."""
    odd = len(text) if encoding.startswith("utf") else sum(letter > "\x7f" for letter in text)
    return odd >= _LEAST_CHARACTERS


def _read_as(encoding: str, sample: bytes) -> str:
    return sample.decode(encoding, errors="replace").removeprefix("\ufeff")


def _guess(sample: bytes) -> _Guess:
    marked = [name for name, marks in _WITH_MARK.items() if sample.startswith(marks)]
    if marked:
        # The mark of UTF-32 begins with that of UTF-16.
        return _Guess((marked[-1],), {marked[-1]: _read_as(marked[-1], sample)}, True)
    # Only where something is not UTF-8: it takes a while to import.
    from charset_normalizer import from_bytes

    # Several may give the same text, and the first of them is not the usual one.
    found = [
        (
            next(
                (n for n in _USUAL if n in match.could_be_from_charset),
                _python_name(match.encoding),
            ),
            match,
        )
        for match in from_bytes(sample)
        if match.encoding not in ("utf_16", "utf_32")
    ]
    if not found:
        return _Guess((), {})
    texts = {name: str(match) for name, match in found}
    first, best = found[0]
    family = family_of(first)
    others = [
        (name, match) for name, match in found if name not in family and texts[name] != texts[first]
    ]
    rivals = [name for name, match in others if match.chaos < best.chaos + _SIMILAR_CHAOS]
    names = [first, *(rivals or [name for name, _ in others])]
    is_sure = bool(family) and not rivals and _letters(first, texts[first])
    return _Guess(tuple(dict.fromkeys(names)), texts, is_sure)


def _python_name(name: str) -> str:
    return name.replace("utf_", "utf-").replace("_le", "-le").replace("_be", "-be")


def _decodes(path: Path, encoding: str) -> bool:
    """Tell whether all of a file is of an encoding, up to a damage of its packing."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with open_bytes(path) as stream:
            for data in iter(partial(stream.read, _SAMPLE_BYTES), b""):
                decoder.decode(data)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    except DamagedFileError:
        pass
    return True


def _foreign_sample(path: Path, to_the_end: bool = False) -> bytes:
    """Return bytes of a file that is in another encoding than UTF-8, from the first line on that is
    not UTF-8 or has zeros; none where it is UTF-8, if a damaged one, or cannot be read.

    to_the_end: a character that the end of the file cuts off is not UTF-8 either.
    """
    sample = b"" if has_ending(path, ".parquet") else _sample(path, to_the_end)
    text = sample.decode(errors="surrogateescape")
    invalid = sum("\ud800" <= character <= "\udfff" for character in text)
    others = sum(character > "\x7f" for character in text) - invalid
    is_utf8 = sample.count(0) <= _MOST_ODD * len(sample) and others >= invalid
    return b"" if is_utf8 else sample


def _sample(path: Path, to_the_end: bool) -> bytes:
    decoder = codecs.getincrementaldecoder(UTF8)()
    head = line = b""
    try:
        with open_bytes(path) as stream:
            for line in iter(partial(stream.readline, _SAMPLE_BYTES), b""):
                if _is_utf8(line, decoder):
                    # In UTF-16, a line end may be half of a character.
                    head = head + line if len(head) < _LEAST_CHARACTERS else head
                    continue
                sample = (head if len(head) < _LEAST_CHARACTERS else b"") + line
                more = stream.read(_SAMPLE_BYTES)
                sample += more
                if len(more) < _SAMPLE_BYTES:
                    return sample
                # A character that is cut in two would rule out its encoding.
                end = sample.rfind(b"\n", len(sample) // 2) + 1
                return sample[: len(sample) // 4 * 4] if 0 in sample or not end else sample[:end]
            if to_the_end and not _is_utf8(b"", decoder, True):
                return line
    except (DamagedFileError, UserError):
        pass
    return b""


def _is_utf8(line: bytes, decoder: codecs.IncrementalDecoder, ends: bool = False) -> bool:
    try:
        decoder.decode(line, ends)
    except UnicodeDecodeError:
        return False
    return 0 not in line
