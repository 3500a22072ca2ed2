"""Chinese words and their parts of speech, found by jieba; a text whose tags were asked for is not cut again for its words."""

import rjieba


class Segmenter:
    """Cuts texts into words; remembers the text that it tagged last."""

    def __init__(self) -> None:
        self._text: str | None = None
        self._tagged: list[tuple[str, str]] = []

    def tagged(self, text: str) -> list[tuple[str, str]]:
        """Return the words of a text, each with its tag; words that the dictionary lacks are guessed."""
        if text is not self._text:
            self._tagged, self._text = rjieba.tag(text), text
        return self._tagged

    def words(self, text: str) -> list[str]:
        """Return the words of a text: the same ones, whether it was tagged before or not."""
        if text is self._text:
            return [word for word, _ in self._tagged]
        found: list[str] = rjieba.cut(text)
        return found


SEGMENTER = Segmenter()
"""The one of this process."""
