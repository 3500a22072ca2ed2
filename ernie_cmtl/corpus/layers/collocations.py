"""Collocations: word n-grams that the corpus itself shows to belong together, fitted on its
training split.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ernie_cmtl.atomic_files import read_array, write_array, write_text
from ernie_cmtl.corpus.layers import FittedLayer
from ernie_cmtl.corpus.layers._mining import CollocationOptions, Lexicon, mine
from ernie_cmtl.corpus.layers._ngrams import Words, joined, word_blocks, words_of
from ernie_cmtl.corpus.store.manifest import Shard
from ernie_cmtl.corpus.tokens.tokenizer import raw_text_tokenizer
from ernie_cmtl.records import Array, IntArray, Vocabulary


class Collocations(FittedLayer):
    """N-grams of 2 to 5 words by pointwise mutual information, kept as a lexicon."""

    citation = "PMI-Masking (Levine et al. 2021)"
    Options = CollocationOptions
    marks_spans = True
    options: CollocationOptions

    def fit(
        self, folder: Path, shards: Sequence[Shard], corpus: Path, vocabulary: Vocabulary
    ) -> None:
        """Mine the lexicon from at most `counted_tokens` of the training split, in pieces spread
        evenly over it.
        """
        tokenizer = raw_text_tokenizer(corpus / "tokenizer")
        wordlike = _wordlike(tokenizer, vocabulary)
        share = min(
            1.0, self.options.counted_tokens / max(1, sum(shard.train.tokens for shard in shards))
        )
        words, token_ids = _training_words(corpus, shards, wordlike, share)
        lexicon, rows = mine(words, self.options)
        write_array(folder / "lexicon.npy", lexicon.hashes)
        write_array(folder / "wordlike.npy", wordlike)
        write_text(folder / "collocations.tsv", _table(rows, words, token_ids, tokenizer))

    def mark(self, folder: Path, shard: Path) -> npt.NDArray[np.uint8]:
        """Mark the lexicon's n-grams in a shard, longest match first."""
        token_ids, word_starts, sentences = _text(shard)
        words = words_of(
            token_ids, word_starts, sentences, np.asarray(read_array(folder / "wordlike.npy"))
        )
        return Lexicon(np.asarray(read_array(folder / "lexicon.npy"))).spans(words, len(token_ids))


def _training_words(
    corpus: Path, shards: Sequence[Shard], wordlike: npt.NDArray[np.bool_], share: float
) -> tuple[Words, Array]:
    """Return the words of a share of the training tokens of each shard, as one run, and the
    tokens.
    """
    parts: list[Words] = []
    ids: list[Array] = []
    start = 0
    for shard in shards:
        if shard.train.tokens:
            token_ids, word_starts, sentences = _text(
                corpus / "shards" / shard.name, shard.train.sentences, share
            )
            parts += word_blocks(token_ids, word_starts, sentences, wordlike, start)
            ids.append(token_ids)
            start += len(token_ids)
    return joined(parts), np.concatenate(ids)


def _text(
    folder: Path, sentences: int | None = None, share: float = 1.0
) -> tuple[Array, Array, IntArray]:
    """Return tokens, word starts and sentence offsets of the first `sentences` of a shard, or of a
    share of their tokens.
    """
    offsets = np.asarray(read_array(folder / "sentence_offsets.npy"))[
        : None if sentences is None else sentences + 1
    ]
    if share < 1:
        offsets = offsets[
            : max(2, int(np.searchsorted(offsets, offsets[-1] * share, side="right")))
        ]
    tokens = int(offsets[-1])
    token_ids, word_starts = (
        read_array(folder / f"{name}.npy")[:tokens] for name in ("token_ids", "word_starts")
    )
    return token_ids, word_starts, offsets


def _wordlike(tokenizer: Tokenizer, vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
    """Tell which tokens hold a letter or digit; bool [vocabulary]."""
    texts = tokenizer.decode_batch([[number] for number in range(vocabulary.size)])
    return np.array([any(c.isalnum() for c in text) for text in texts]) & ~vocabulary.special


def _table(
    rows: Sequence[tuple[int, int, int, float]],
    words: Words,
    token_ids: Array,
    tokenizer: Tokenizer,
) -> str:
    """Return the lexicon for people: phrase, words, count and PMI."""
    ends = np.append(words.starts, len(token_ids))
    spans = [token_ids[ends[word] : ends[word + length]].tolist() for word, length, _, _ in rows]
    phrases = tokenizer.decode_batch(spans, skip_special_tokens=False)
    lines = [
        f"{phrase}\t{n}\t{count}\t{pmi:.3f}\n"
        for phrase, (_, n, count, pmi) in zip(phrases, rows, strict=True)
    ]
    return "".join(["phrase\twords\tcount\tpmi\n", *lines])
