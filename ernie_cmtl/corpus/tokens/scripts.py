"""Scripts that text is written in, counted by its letters."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

import numpy as np

from ernie_cmtl.records import IntArray

OTHER = "other"
_NAMES = (
    "Latin Greek Cyrillic Armenian Georgian Hebrew Arabic Ethiopic Devanagari Bengali Gurmukhi "
    "Gujarati Tamil Telugu Kannada"
)
_NAMES += " Malayalam Sinhala Thai Lao Tibetan Myanmar Khmer Mongolian Hangul Hiragana Katakana"
_SCRIPT_OF_WORD = {name.upper(): name for name in _NAMES.split()} | {
    "CJK": "Han",
    "IDEOGRAPHIC": "Han",
}
"""Word in the Unicode name of a letter -> script."""
_CODES = 0x110000
_AT_ONCE = 1 << 16
"""Characters that are counted together: the counts of few are spread over as long an array."""


def letters_by_script(texts: Iterable[str]) -> dict[str, int]:
    """Return how many letters of each script texts hold, the most frequent first; marks, digits and
    signs are no letters.
    """
    text = "".join(texts)
    counts: IntArray = np.zeros(_CODES, dtype=np.int64)
    for start in range(0, len(text), _AT_ONCE):
        codes = np.frombuffer(text[start : start + _AT_ONCE].encode("utf-32-le"), dtype=np.uint32)
        found = np.bincount(codes)
        counts[: len(found)] += found
    letters: Counter[str] = Counter()
    for code in np.flatnonzero(counts).tolist():
        if script := _script(chr(code)):
            letters[script] += int(counts[code])
    return dict(letters.most_common())


@cache
def _script(character: str) -> str | None:
    """Return the script of a letter by its Unicode name, such as LATIN SMALL LETTER A; None: it is
    no letter.
    """
    if not character.isalpha():
        return None
    words = unicodedata.name(character, "").replace("-", " ").split()
    return next((_SCRIPT_OF_WORD[word] for word in words if word in _SCRIPT_OF_WORD), OTHER)
