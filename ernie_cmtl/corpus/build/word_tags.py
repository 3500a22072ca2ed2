"""Words and their tags -> a text, and a tag at the first token of each word."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ernie_cmtl.corpus.store.manifest import NO_TAG
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import IntArray, Language

Kind = Literal["text", "class", "number", "tags"]
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class TaggedWord:
    """Where a word stands in its text, and its tag."""

    start: int
    """First character."""
    stop: int
    """One past the last character."""
    tag: str


def with_tagged_words(
    row: Mapping[str, object], kinds: Mapping[str, Kind], language: Language, place: str
) -> dict[str, object]:
    """Return a row whose texts are str, and whose tags are tuples of `TaggedWord`.

    A list of words becomes a text: joined by spaces in English, by nothing in Chinese. Tags and the
    words of a text that is no list are parted by white space.

    Raises:
        UserError: There are more or fewer tags than words, or a word or tag is none.
    """
    found = dict(row)
    for name, kind in kinds.items():
        if kind == "text" and isinstance(value := row.get(name), list):
            words = _listed(value, name, place)
            found[name] = ("" if language == "zh" else " ").join(words)
    (text, *_) = (name for name, kind in kinds.items() if kind == "text")
    for name, kind in kinds.items():
        if kind == "tags" and row.get(name) is not None and row.get(text) is not None:
            spans = _spans(row[text], text, language, place)
            tags = _listed(row[name], name, place)
            if len(tags) != len(spans):
                raise UserError(
                    f"{place}: {len(spans)} words in {text!r} and {len(tags)} tags in {name!r}; "
                    "give each word one tag"
                )
            found[name] = tuple(
                TaggedWord(*span, tag) for span, tag in zip(spans, tags, strict=True)
            )
    return found


def _listed(value: object, name: str, place: str) -> list[str]:
    """Return a list of words or tags, or what stands between white space, as str."""
    if isinstance(value, str):
        return _WORD.findall(value)
    if not isinstance(value, list):
        raise UserError(f"{place}: {value!r} in {name!r} is no list of words or tags")
    for number, one in enumerate(value, 1):
        # True is an int, and no tag.
        if isinstance(one, bool) or not isinstance(one, (str, int)):
            raise UserError(
                f"{place}: number {number} in {name!r} is {one!r}; words and tags are texts or "
                "whole numbers"
            )
    return [str(one) for one in value]


def _spans(value: object, name: str, language: Language, place: str) -> list[tuple[int, int]]:
    """Return the first character of each word in its text, and one past its last."""
    if isinstance(value, str):
        return [word.span() for word in _WORD.finditer(value)]
    spans, start = [], 0
    for word in _listed(value, name, place):
        spans.append((start, start + len(word)))
        start += len(word) + (language != "zh")
    return spans


def tag_layer(
    words: Sequence[TaggedWord], numbers: Mapping[str, int], starts: IntArray
) -> npt.NDArray[np.int32]:
    """Put the number of each word's tag at the first token that begins inside of the word; int32
    [T], -1 elsewhere.

    starts: first character of each token, in order; int64 [T]. A word in which no token begins has
    no label.
    """
    layer = np.full(len(starts), NO_TAG, dtype=np.int32)
    if len(words) and len(starts):
        firsts = np.searchsorted(starts, [word.start for word in words])
        ends = np.array([word.stop for word in words])
        there = starts[np.minimum(firsts, len(starts) - 1)] < ends
        there &= firsts < len(starts)
        tags = np.array([numbers[word.tag] for word in words], dtype=np.int32)
        layer[firsts[there]] = tags[there]
    return layer
