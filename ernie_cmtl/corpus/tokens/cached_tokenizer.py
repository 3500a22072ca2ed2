"""Text -> tokens by distinct pieces: each piece of text goes through the tokenizer once and is
looked up afterwards.

BERT's pipeline (clean, space ideographs, strip accents, lower, split at white space and
punctuation, WordPiece) never looks across white space, punctuation or an ideograph. So a text is
cut there, and text repeats itself: a few pieces make up most of it. A tokenizer of another kind
gets the whole text as one piece; the result is the same as the tokenizer's own in either case.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise, repeat
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ernie_cmtl.corpus.tokens.characters import LOWER, SPACE, SYMBOL, UPPER, character_classes
from ernie_cmtl.records import IntArray

_IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff"
_PUNCTUATION = r"!-/:-@\[-`{-~"
# A word apart from the punctuation after it is one that comes again. One white space may follow
# either: it makes no token, and half the pieces. Ideographs are pieces too, each alone, but there
# are too many of them for a pattern.
_PIECE = re.compile(
    rf"[^ \t\r\n{_IDEOGRAPHS}{_PUNCTUATION}]+[ \n]?|[{_PUNCTUATION}]+[ \n]?|[ \t\r\n]+"
)
_CACHED_PIECES = 1 << 19
_PIECES_AT_ONCE = 512
"""New pieces that are tokenized as the lines of one text: one piece at a time, or all of them as
one text, takes far longer.
"""

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """Tokens of a text with what is known of each from its own piece alone; arrays [T]."""

    token_ids: IntArray
    starts: IntArray
    """First character of each token in the text, not counting a white space that the token begins
    with.
    """
    word_starts: npt.NDArray[np.uint8]
    """1 where white space or punctuation separates the token from the one before."""
    letter_case: npt.NDArray[np.uint8]
    """At word starts: 1 a lower-case letter, 2 a capital; else 0."""


@dataclass
class PieceTokenizer:
    """Tokenizes texts by their distinct pieces, with bounded memory."""

    tokenizer: Tokenizer
    _numbers: dict[str, int] = field(default_factory=dict, init=False)
    _tokens: npt.NDArray[np.int32] = field(init=False)
    _firsts: IntArray = field(init=False)
    _lengths: IntArray = field(init=False)
    _fill: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.splits = _is_bert_pipeline(self.tokenizer)
        self._clear()

    def _clear(self) -> None:
        self._numbers = {}
        # Columns: token id, start in the piece, word start, letter case.
        self._tokens = np.zeros((1 << 16, 4), dtype=np.int32)
        self._firsts = np.zeros(1 << 16, dtype=np.int64)
        self._lengths = np.zeros(1 << 16, dtype=np.int64)
        self._fill = 0

    def __call__(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Tokenize texts without adding special tokens."""
        if len(self._numbers) > _CACHED_PIECES or not self.splits:
            self._clear()
        sizes = np.array([len(text) for text in texts], dtype=np.int64)
        text_starts = np.cumsum(sizes) - sizes
        if not self.splits:
            return self._look_up(
                self._numbered(list(texts)), text_starts, np.arange(len(texts) + 1), text_starts
            )
        numbers, starts = self._cut(texts)
        edges = np.searchsorted(starts, np.append(text_starts, sizes.sum()))
        return self._look_up(numbers, starts, edges, text_starts)

    def _cut(self, texts: Sequence[str]) -> tuple[IntArray, IntArray]:
        """Cut texts and return the numbers of their pieces and where these start, counted over all
        texts; int64 [pieces].
        """
        others = self._numbered(list(chain.from_iterable(map(_PIECE.findall, texts))))
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32)
        ideograph = ((codes >= 0x3400) & (codes <= 0x4DBF)) | (
            (codes >= 0x4E00) & (codes <= 0x9FFF)
        )
        alone, among = np.flatnonzero(ideograph), np.flatnonzero(~ideograph)
        # The other pieces fill what the ideographs leave, one after the other.
        lengths = self._lengths[others]
        starts = np.concatenate([alone, among[np.cumsum(lengths) - lengths]])
        distinct = np.flatnonzero(np.bincount(codes[alone]))
        number_of = np.zeros(0xA000, dtype=np.int64)
        number_of[distinct] = self._numbered([chr(code) for code in distinct.tolist()])
        order = np.argsort(starts, kind="stable")
        return np.concatenate([number_of[codes[alone]], others])[order], starts[order]

    def _numbered(self, pieces: list[str]) -> IntArray:
        """Return the number of each piece, and note those that are new; int64 [pieces]."""
        numbers = np.fromiter(
            map(self._numbers.get, pieces, repeat(-1)), dtype=np.int64, count=len(pieces)
        )
        new = np.flatnonzero(numbers < 0)
        new_pieces = [pieces[place] for place in new.tolist()]
        self._add(sorted(set(new_pieces)))
        numbers[new] = [self._numbers[piece] for piece in new_pieces]
        return numbers

    def _look_up(
        self, numbers: IntArray, starts: IntArray, edges: IntArray, text_starts: IntArray
    ) -> list[TokenizedText]:
        """Return the tokens of texts from the numbers and starts of their pieces; edges: first
        piece of each text and the end.
        """
        firsts = self._firsts[numbers]
        tokens = self._firsts[numbers + 1] - firsts
        before = np.concatenate([[0], np.cumsum(tokens)])
        rows = self._tokens[np.repeat(firsts - before[:-1], tokens) + np.arange(before[-1])]
        token_edges = before[edges]
        token_starts = (
            rows[:, 1] + np.repeat(starts, tokens) - np.repeat(text_starts, np.diff(token_edges))
        )
        token_ids, flags = rows[:, 0].astype(np.int64), rows[:, 2:].astype(np.uint8).T.copy()
        parts = [slice(first, last) for first, last in pairwise(token_edges.tolist())]
        return [
            TokenizedText(token_ids[part], token_starts[part], flags[0, part], flags[1, part])
            for part in parts
        ]

    def _add(self, pieces: list[str]) -> None:
        """Tokenize new pieces all at once, a line each, and store what is known of their tokens."""
        if not pieces:
            return
        separator = "\n" if self.splits else ""
        text = separator.join(pieces)
        lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces)) + len(separator)
        piece_ends = np.cumsum(lengths)
        step = _PIECES_AT_ONCE if self.splits else 1
        lines = [
            separator.join(pieces[first : first + step]) for first in range(0, len(pieces), step)
        ]
        encodings = self.tokenizer.encode_batch(lines, add_special_tokens=False)
        bases = (piece_ends - lengths)[::step].tolist()
        token_ids = np.concatenate([np.array(e.ids, dtype=np.int64) for e in encodings])
        spans = [
            np.array(e.offsets, dtype=np.int64).reshape(-1, 2) + base
            for e, base in zip(encodings, bases, strict=True)
        ]
        offsets = np.concatenate(spans)
        if self.splits:
            piece_of_token = np.searchsorted(piece_ends, offsets[:, 0], side="right")
        else:
            piece_of_token = np.repeat(
                np.arange(len(pieces)), [len(encoding) for encoding in encodings]
            )
        classes = character_classes(text)
        begins = _without_leading_space(offsets, classes)
        word_starts, letter_case = _word_starts_and_case(
            classes, begins, offsets[:, 1], piece_of_token
        )
        starts = np.minimum(
            begins - (piece_ends - lengths)[piece_of_token], lengths[piece_of_token] - 1
        )
        rows = np.stack([token_ids, starts, word_starts, letter_case], axis=1)
        counts = np.bincount(piece_of_token, minlength=len(pieces))
        self._store(pieces, rows, counts, lengths - len(separator))

    def _store(
        self, pieces: list[str], rows: IntArray, counts: IntArray, lengths: IntArray
    ) -> None:
        number = len(self._numbers)
        self._tokens = _grown(self._tokens, self._fill + len(rows))
        self._firsts = _grown(self._firsts, number + len(pieces) + 1)
        self._lengths = _grown(self._lengths, number + len(pieces))
        self._tokens[self._fill : self._fill + len(rows)] = rows
        self._firsts[number + 1 : number + 1 + len(pieces)] = self._fill + np.cumsum(counts)
        self._lengths[number : number + len(pieces)] = lengths
        self._fill += len(rows)
        self._numbers.update(zip(pieces, range(number, number + len(pieces)), strict=True))


def _grown(array: npt.NDArray[Scalar], needed: int) -> npt.NDArray[Scalar]:
    if needed <= len(array):
        return array
    larger = np.zeros((max(needed, 2 * len(array)), *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


def _without_leading_space(offsets: IntArray, classes: npt.NDArray[np.uint8]) -> IntArray:
    """Return the first character of each token that is no white space: some tokenizers put the
    space before a word into it.
    """
    last = max(len(classes) - 1, 0)
    starts = np.minimum(offsets[:, 0], last)
    leads = (classes[starts] & SPACE).astype(bool) & (offsets[:, 1] > offsets[:, 0])
    moved: IntArray = np.minimum(starts + leads, last)
    return moved


def _word_starts_and_case(
    classes: npt.NDArray[np.uint8], starts: IntArray, ends: IntArray, piece_of_token: IntArray
) -> tuple[IntArray, IntArray]:
    symbol = (classes & SYMBOL).astype(bool)
    # Only white space between two tokens parts words; a character that was dropped does not.
    spaces = np.concatenate([[0], np.cumsum((classes & SPACE).astype(bool))])
    begins = np.ones(len(starts), dtype=bool)
    begins[1:] = (
        (piece_of_token[1:] != piece_of_token[:-1])
        | (spaces[starts[1:]] > spaces[np.minimum(ends[:-1], starts[1:])])
        | symbol[starts[1:]]
        | symbol[np.maximum(ends[:-1] - 1, 0)]
    )
    first = classes[starts]
    case = np.where(first & UPPER, 2, np.where(first & LOWER, 1, 0))
    return begins.astype(np.int64), np.where(begins, case, 0)


def _is_bert_pipeline(tokenizer: Tokenizer) -> bool:
    settings = json.loads(tokenizer.to_str())
    normalizer = settings["normalizer"] or {}
    return (
        settings["model"]["type"] == "WordPiece"
        # Words that were added are looked for in the whole text.
        and all(token["special"] for token in settings["added_tokens"])
        and normalizer.get("type") == "BertNormalizer"
        and bool(normalizer.get("clean_text"))
        and bool(normalizer.get("handle_chinese_chars"))
        and (settings["pre_tokenizer"] or {}).get("type") == "BertPreTokenizer"
    )
