"""Documents -> token ids, sentences, words and letter case, once, in whole arrays."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rjieba
import sentencex
from tokenizers import Tokenizer

from ernie_cmtl.corpus.pieces import PieceTokenizer, TokenizedText
from ernie_cmtl.corpus.tokenizer import hides_letter_case, raw_text_tokenizer
from ernie_cmtl.records import AnnotatedText, IntArray, Language

# The sentence splitter fails on a white space of more than one byte before a full stop; the replacement keeps all places.
_OTHER_SPACE = re.compile(r"[^\S\x00-\x7f]")


@dataclass
class Annotator:
    """Annotates documents of one language with one tokenizer."""

    tokenizer: Tokenizer
    language: Language

    def __post_init__(self) -> None:
        self._tokenize = PieceTokenizer(self.tokenizer)
        # Where the tokens themselves show letter case, a layer of it would be a leak and is not written.
        self.layers = ("word_starts", "letter_case") if hides_letter_case(self.tokenizer) else ("word_starts",)

    @classmethod
    def load(cls, tokenizer_folder: Path, language: Language) -> "Annotator":
        """Make an annotator from a saved tokenizer."""
        return cls(raw_text_tokenizer(tokenizer_folder), language)

    def annotate(self, texts: Sequence[str]) -> list[AnnotatedText]:
        """Annotate documents; one without any token comes back with none."""
        return [self._annotate(text, tokens) for text, tokens in zip(texts, self._tokenize(texts), strict=True)]

    def _annotate(self, text: str, tokens: TokenizedText) -> AnnotatedText:
        starts = tokens.starts
        if self.language == "zh" and len(starts):
            word_starts = _chinese_word_starts(text, starts)
            letter_case = np.where(word_starts, tokens.letter_case, np.uint8(0))
        else:
            word_starts, letter_case = tokens.word_starts, tokens.letter_case
        layers = {"word_starts": word_starts, "letter_case": letter_case}
        sentences = self._sentence_offsets(text, starts)
        return AnnotatedText(tokens.token_ids, sentences, {name: layers[name] for name in self.layers})

    def _sentence_offsets(self, text: str, starts: IntArray) -> IntArray:
        boundaries = sentencex.get_sentence_boundaries(self.language, _OTHER_SPACE.sub(" ", text))
        begins = [b["start_index"] for b in boundaries if not b["is_paragraph_break"]]
        inner = np.searchsorted(starts, np.array(begins[1:], dtype=np.int64))
        offsets: IntArray = np.unique(np.concatenate([[0], inner, [len(starts)]]))
        return offsets


def _chinese_word_starts(text: str, starts: IntArray) -> npt.NDArray[np.uint8]:
    lengths = np.fromiter(map(len, rjieba.cut(text)), dtype=np.int64)
    words = np.repeat(np.arange(len(lengths)), lengths)[starts]
    begins = np.ones(len(words), dtype=np.uint8)
    begins[1:] = words[1:] != words[:-1]
    return begins
