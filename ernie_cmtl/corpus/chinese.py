"""Chinese words and their parts of speech, found by jieba; a text whose tags were asked for is not cut again for its words."""

import numpy as np

from ernie_cmtl.records import IntArray


class Segmenter:
    """Cuts texts into words; remembers the words of those that it tagged until they are asked for."""

    def __init__(self) -> None:
        self._lengths: dict[str, IntArray] = {}

    def tagged(self, text: str) -> list[tuple[str, str]]:
        """Return the words of a text, each with its tag; words that the dictionary lacks are guessed."""
        # Here, for its dictionary takes a tenth of a second of every process, whatever the language of its text.
        import rjieba

        found: list[tuple[str, str]] = rjieba.tag(text)
        self._lengths[text] = _lengths([word for word, _ in found])
        return found

    def word_lengths(self, text: str) -> IntArray:
        """Return the characters of each word of a text: of the same words, whether it was tagged before or not; int64 [words]."""
        import rjieba

        found = self._lengths.pop(text, None)
        return _lengths(rjieba.cut(text)) if found is None else found


def _lengths(words: list[str]) -> IntArray:
    return np.fromiter(map(len, words), dtype=np.int64, count=len(words))


SEGMENTER = Segmenter()
"""The one of this process."""
