"""Classes of characters, looked up for a whole text at once."""

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

UPPER, LOWER, SYMBOL, SPACE = 1, 2, 4, 8
_PLANE = 0x10000


@cache
def _table() -> npt.NDArray[np.uint8]:
    table = np.zeros(_PLANE, dtype=np.uint8)
    for code in range(_PLANE):
        category = unicodedata.category(chr(code))
        if category in ("Lu", "Lt"):
            table[code] = UPPER
        elif category == "Ll":
            table[code] = LOWER
        elif chr(code).isspace():
            table[code] = SPACE
        elif category[0] in "PS":
            table[code] = SYMBOL
    # Ideographs stand alone, as in BERT's pre-tokenizer.
    for first, last in ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)):
        table[first : last + 1] = SYMBOL
    return table


def character_classes(text: str) -> npt.NDArray[np.uint8]:
    """Return the flags UPPER, LOWER, SYMBOL, SPACE of each character (beyond the first plane: SYMBOL); uint8 [characters]."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    return np.where(codes < _PLANE, _table()[np.minimum(codes, _PLANE - 1)], np.uint8(SYMBOL))
