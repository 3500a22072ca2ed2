"""Documents -> token ids, sentences, words, letter case and knowledge spans, once, in whole
arrays.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import sentencex
from tokenizers import Tokenizer

from ernie_cmtl.corpus.layers import TextLayer
from ernie_cmtl.corpus.tokens.cached_tokenizer import PieceTokenizer, TokenizedText
from ernie_cmtl.corpus.tokens.jieba_words import SEGMENTER
from ernie_cmtl.corpus.tokens.tokenizer import hides_letter_case, raw_text_tokenizer
from ernie_cmtl.records import AnnotatedText, IntArray, Language

# The sentence splitter fails on a white space of more than one byte before a full stop; the
# replacement keeps all places.
_OTHER_SPACE = re.compile(r"[^\S\x00-\x7f]")

Marks = Sequence[tuple[int, int, int]]
"""First character, one past the last, and kind of stretches of a text."""


@dataclass
class Annotator:
    """Annotates documents of one language with one tokenizer."""

    tokenizer: Tokenizer
    language: Language
    providers: Mapping[str, TextLayer] = field(default_factory=dict)
    """Layer name -> what finds its spans."""

    def __post_init__(self) -> None:
        self._tokenize = PieceTokenizer(self.tokenizer)
        # Where the tokens themselves show letter case, a layer of it would be a leak and is not
        # written.
        self.layers = (
            ("word_starts", "letter_case")
            if hides_letter_case(self.tokenizer)
            else ("word_starts",)
        )

    @classmethod
    def load(
        cls,
        tokenizer_folder: Path,
        language: Language,
        providers: Mapping[str, TextLayer] = MappingProxyType({}),
    ) -> "Annotator":
        """Make an annotator from a saved tokenizer."""
        return cls(raw_text_tokenizer(tokenizer_folder), language, providers)

    def annotate(self, texts: Sequence[str]) -> list[AnnotatedText]:
        """Annotate documents; one without any token comes back with none."""
        tokens = self._tokenize(texts)
        # One kind of work after the other, each over all texts: its tables stay in the cache.
        marks = {
            name: [provider.marks(text) for text in texts]
            for name, provider in self.providers.items()
        }
        sentences = [
            self._sentence_offsets(text, found.starts)
            for text, found in zip(texts, tokens, strict=True)
        ]
        if self.language == "zh":
            tokens = [
                _with_chinese_words(text, found) for text, found in zip(texts, tokens, strict=True)
            ]
        return [
            self._annotated(found, offsets, {name: rows[place] for name, rows in marks.items()})
            for place, (found, offsets) in enumerate(zip(tokens, sentences, strict=True))
        ]

    def token_starts(self, texts: Sequence[str]) -> list[IntArray]:
        """Return the first character of each token of texts; int64 [T] each."""
        return [found.starts for found in self._tokenize(texts)]

    def _annotated(
        self, tokens: TokenizedText, sentences: IntArray, marks: Mapping[str, Marks]
    ) -> AnnotatedText:
        found = {"word_starts": tokens.word_starts, "letter_case": tokens.letter_case}
        layers = {name: found[name] for name in self.layers}
        borders = _unit_borders(tokens.word_starts, sentences)
        for name, provider in self.providers.items():
            layers[name] = _mark_layer(
                marks[name], provider.continues, tokens.starts, borders, sentences
            )
        return AnnotatedText(tokens.token_ids, sentences, layers)

    def _sentence_offsets(self, text: str, starts: IntArray) -> IntArray:
        boundaries = sentencex.get_sentence_boundaries(self.language, _OTHER_SPACE.sub(" ", text))
        begins = [b["start_index"] for b in boundaries if not b["is_paragraph_break"]]
        inner = np.searchsorted(starts, np.array(begins[1:], dtype=np.int64))
        offsets: IntArray = np.unique(np.concatenate([[0], inner, [len(starts)]]))
        return offsets


def _with_chinese_words(text: str, tokens: TokenizedText) -> TokenizedText:
    """Put the words of the segmenter in the place of those that are parted by white space and
    punctuation.
    """
    lengths = SEGMENTER.word_lengths(text)
    words = np.repeat(np.arange(len(lengths)), lengths)[tokens.starts]
    begins = np.ones(len(words), dtype=np.uint8)
    begins[1:] = words[1:] != words[:-1]
    return replace(
        tokens, word_starts=begins, letter_case=np.where(begins, tokens.letter_case, np.uint8(0))
    )


def _unit_borders(word_starts: npt.NDArray[np.uint8], sentences: IntArray) -> npt.NDArray[np.bool_]:
    """Tell before which tokens a span may start or end: where a word does; bool [T + 1]."""
    borders = np.append(word_starts.astype(bool), True)
    borders[sentences] = True
    return borders


def _mark_layer(
    marks: Marks,
    continues: int,
    starts: IntArray,
    borders: npt.NDArray[np.bool_],
    sentences: IntArray,
) -> npt.NDArray[np.uint8]:
    """Put stretches of characters onto tokens: their kind where one starts, `continues` where it
    goes on; uint8 [T].

    marks: sorted, apart from each other. A stretch that cuts through a word or crosses a sentence
    is dropped.
    """
    layer = np.zeros(len(starts), dtype=np.uint8)
    if not len(marks) or not len(starts):
        return layer
    places = np.array(marks, dtype=np.int64)
    firsts, lasts = np.searchsorted(starts, places[:, :2]).T
    inside_one_sentence = np.searchsorted(sentences, firsts, side="right") == np.searchsorted(
        sentences, lasts - 1, side="right"
    )
    kept = (firsts < lasts) & borders[firsts] & borders[lasts] & inside_one_sentence
    firsts, lasts, kinds = firsts[kept], lasts[kept], places[kept, 2]
    change = np.zeros(len(starts) + 1, dtype=np.int8)
    change[firsts] += 1
    change[lasts] -= 1
    layer[np.cumsum(change[:-1]) > 0] = continues
    layer[firsts] = kinds
    return layer
