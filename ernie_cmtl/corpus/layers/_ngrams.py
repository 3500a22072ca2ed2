"""Words of a corpus as hashes, which make hashes of n-grams."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ernie_cmtl.randomness import mix
from ernie_cmtl.records import Array, IntArray

LONGEST = 5
BLOCK = 1 << 15
"""Words that are hashed or searched at once: what is made on the way stays in the cache."""
_TOKENS_AT_ONCE = 1 << 18
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Words:
    """The words of a run of text."""

    starts: IntArray
    """First token of each word; int64 [W]."""
    hashes: Hashes
    """uint64 [W]; equal for equal words."""
    room: npt.NDArray[np.uint8]
    """How many words, this one included, stand in a row without a sentence end, symbol or special
    token, up to LONGEST; [W].
    """

    def ngrams_at(self, places: IntArray, length: int) -> Hashes:
        """Return the hashes of the n-grams of one length at some places; uint64 [places]."""
        hashes = mix(self.hashes[places])
        for step in range(1, length):
            hashes = extend(hashes, self.hashes[places + step])
        return hashes


def extend(hashes: Hashes, following: Hashes) -> Hashes:
    """Hash n-grams and the word after each into one; not the same the other way round."""
    return mix(hashes * np.uint64(3) + following)


def words_of(
    token_ids: Array,
    word_starts: Array,
    sentence_offsets: IntArray,
    wordlike: npt.NDArray[np.bool_],
) -> Words:
    """Find the words of a run of tokens; arguments as of `word_blocks`."""
    return joined(list(word_blocks(token_ids, word_starts, sentence_offsets, wordlike)))


def word_blocks(
    token_ids: Array,
    word_starts: Array,
    sentence_offsets: IntArray,
    wordlike: npt.NDArray[np.bool_],
    start: int = 0,
) -> Iterator[Words]:
    """Find the words of a run of tokens, one stretch of it after the other.

    wordlike: does a token hold a letter or digit, bool [vocabulary]; a word counts when its first
    token does. start: what the places of the tokens are counted from.
    """
    # Words do not cross sentences, so each block of them stands alone, small enough to be made in
    # memory that was used before.
    cuts = np.searchsorted(
        sentence_offsets, np.arange(0, max(1, sentence_offsets[-1]), _TOKENS_AT_ONCE)
    )
    for first, last in pairwise([*np.unique(cuts), len(sentence_offsets) - 1]):
        offsets = sentence_offsets[first : last + 1]
        block = slice(offsets[0], offsets[-1])
        words = _words_of_block(
            token_ids[block], word_starts[block], offsets - offsets[0], wordlike
        )
        yield Words(words.starts + (start + offsets[0]), words.hashes, words.room)


def joined(parts: Sequence[Words]) -> Words:
    """Put runs of words one after the other."""
    return Words(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("starts", "hashes", "room")
        )
    )


def _words_of_block(
    token_ids: Array,
    word_starts: Array,
    sentence_offsets: IntArray,
    wordlike: npt.NDArray[np.bool_],
) -> Words:
    begins = word_starts.astype(bool)
    begins[sentence_offsets[:-1]] = True
    starts = np.flatnonzero(begins)
    # Most words are one token: the sum over the tokens of a word begins with a look-up.
    hashes = mix(np.arange(len(wordlike), dtype=np.uint64))[token_ids[starts]]
    inner = np.flatnonzero(~begins)
    word = inner - np.arange(len(inner)) - 1
    place = (inner - starts[word]).astype(np.uint64)
    np.add.at(hashes, word, mix(token_ids[inner].astype(np.uint64) + (place << np.uint64(32))))
    ends_run = np.zeros(len(starts) + 1, dtype=bool)
    ends_run[np.searchsorted(starts, sentence_offsets[1:])] = True
    counts = wordlike[token_ids[starts]]
    # The run of a word ends at the next sentence end or at the next word that does not count.
    stops = np.append(np.flatnonzero(ends_run[:-1] | ~counts), len(starts))
    # Word w belongs to the stop after it: as many words as lie between two stops, each.
    following = np.repeat(stops, np.diff(stops, prepend=0))
    room = np.where(counts, following - np.arange(len(starts)), 0)
    return Words(starts, hashes, np.minimum(room, LONGEST).astype(np.uint8))


def blocks(size: int) -> list[slice]:
    """Cut 0..size-1 into blocks, at least one."""
    return [slice(start, start + BLOCK) for start in range(0, max(1, size), BLOCK)]
