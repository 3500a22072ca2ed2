"""Classes of characters, looked up for a whole text at once."""

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

UPPER, LOWER, SYMBOL, SPACE = 1, 2, 4, 8
_PLANE = 0x10000
_LETTERS = {"Lu": UPPER, "Lt": UPPER, "Ll": LOWER}


@cache
def _table() -> npt.NDArray[np.uint8]:
    characters = [chr(code) for code in range(_PLANE)]
    categories = map(unicodedata.category, characters)
    table = np.array(
        [_LETTERS.get(name, SYMBOL if name[0] in "PS" else 0) for name in categories],
        dtype=np.uint8,
    )
    table[[character.isspace() for character in characters]] = SPACE
    # Ideographs stand alone, as in BERT's pre-tokenizer.
    for first, last in ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)):
        table[first : last + 1] = SYMBOL
    return table


def character_classes(text: str) -> npt.NDArray[np.uint8]:
    """Return the flags UPPER, LOWER, SYMBOL, SPACE of each character (beyond the first plane:
    SYMBOL); uint8 [characters].
    """
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    return np.where(codes < _PLANE, _table()[np.minimum(codes, _PLANE - 1)], np.uint8(SYMBOL))
