"""Chinese names: words that jieba's part-of-speech tagger calls the name of a person, place, institution or other thing."""

import rjieba
from pydantic import Field

from ernie_cmtl.corpus.spans import SpanOptions, SpanProvider


class TaggedNamesOptions(SpanOptions):
    """Which words are names."""

    tags: tuple[str, ...] = ("nr", "nrt", "nrfg", "ns", "nt", "nz")
    """Tags of jieba's dictionary: nr person (nrt of foreign sound, nrfg of history), ns place, nt institution, nz other."""
    minimum_characters: int = Field(2, ge=1)
    """Shortest name; one character alone is mostly no name, but an ordinary word that can be a surname too."""


class TaggedNames(SpanProvider):
    """Words tagged as names."""

    languages = ("zh",)
    source = "ERNIE 1.0, section 3.2; tags of jieba"
    Options = TaggedNamesOptions
    options: TaggedNamesOptions

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the place of each word with one of the tags."""
        tags, minimum = frozenset(self.options.tags), self.options.minimum_characters
        found, stop = [], 0
        for word, tag in rjieba.tag(text):
            start, stop = stop, stop + len(word)
            if tag in tags and len(word) >= minimum:
                found.append((start, stop))
        return found
