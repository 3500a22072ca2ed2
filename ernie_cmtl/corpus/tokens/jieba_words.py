"""Chinese words and their parts of speech, found by jieba; a text whose tags were asked for is not
cut again for its words.
"""

from typing import Any

import numpy as np

from ernie_cmtl.records import IntArray


class Segmenter:
    """Cuts texts into words; remembers the words of those that it tagged until they are asked
    for.
    """

    def __init__(self) -> None:
        self._lengths: dict[str, IntArray] = {}

    def tagged(self, text: str) -> list[tuple[str, str]]:
        """Return the words of a text, each with its tag; words that the dictionary lacks are
        guessed.
        """
        found: list[tuple[str, str]] = _jieba().tag(text)
        self._lengths[text] = _lengths([word for word, _ in found])
        return found

    def word_lengths(self, text: str) -> IntArray:
        """Return the characters of each word of a text: of the same words, whether it was tagged
        before or not; int64 [words].
        """
        found = self._lengths.pop(text, None)
        return _lengths(_jieba().cut(text)) if found is None else found


def _jieba() -> Any:
    # Its dictionary takes a tenth of a second, which a process without Chinese text need not wait
    # for.
    import rjieba

    return rjieba


def _lengths(words: list[str]) -> IntArray:
    return np.fromiter(map(len, words), dtype=np.int64, count=len(words))


SEGMENTER = Segmenter()
"""The one of this process."""
