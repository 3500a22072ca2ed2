"""Collocations: word n-grams that occur together more often than their parts explain, mined in the corpus itself.

After PMI-Masking (Levine et al. 2021, arXiv 2010.01825): an n-gram of 2 to 5 words is scored by the pointwise mutual information
of its best segmentation, so that a phrase needs every one of its joints. Words are those of the stored layer, so mining, matching
and masking speak of the same units.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ernie_cmtl.corpus.layers import LayerOptions
from ernie_cmtl.randomness import mix
from ernie_cmtl.records import Array, IntArray

LONGEST = 5
_TABLE_BITS = 22
Hashes = npt.NDArray[np.uint64]


class CollocationOptions(LayerOptions):
    """Which n-grams count as one unit of knowledge masking."""

    minimum_count: int = Field(10, ge=2)
    """Occurrences in the counted part of the corpus."""
    minimum_pmi: float = 4.0
    """Nats by which the n-gram beats its best segmentation."""
    maximum: int = Field(800_000, ge=0)
    """At most so many are kept, the highest PMI first."""
    counted_tokens: int = Field(16_000_000, ge=1)
    """At most so many tokens of the training split are counted, in pieces spread evenly over it."""


@dataclass(frozen=True)
class Words:
    """The words of a run of text."""

    starts: IntArray
    """First token of each word; int64 [W]."""
    hashes: Hashes
    """uint64 [W]; equal for equal words."""
    room: IntArray
    """How many words, this one included, stand in a row without a sentence end, symbol or special token; int64 [W]."""

    def ngrams(self) -> Iterator[tuple[int, Hashes]]:
        """Yield for each length 1..5 the hash of the n-gram that starts at each word, room or not; uint64 [W - length + 1]."""
        hashes = mix(self.hashes)
        yield 1, hashes
        for length in range(2, min(LONGEST, len(self.hashes)) + 1):
            hashes = _extend(hashes[:-1], self.hashes[length - 1 :])
            yield length, hashes

    def ngrams_at(self, places: IntArray, length: int) -> Hashes:
        """Return the hashes of the n-grams of one length at some places; uint64 [places]."""
        hashes = mix(self.hashes[places])
        for step in range(1, length):
            hashes = _extend(hashes, self.hashes[places + step])
        return hashes


def _extend(hashes: Hashes, following: Hashes) -> Hashes:
    """Hash n-grams and the word after each into one; not the same the other way round."""
    return mix(hashes * np.uint64(3) + following)


@dataclass(frozen=True)
class Lexicon:
    """The collocations of a corpus."""

    hashes: Hashes
    """Sorted hashes of the n-grams, all lengths together; uint64 [C]."""

    def spans(self, words: Words, tokens: int) -> npt.NDArray[np.uint8]:
        """Mark n-grams over a run of tokens, longest match first from the left: 1 starts, 2 goes on; uint8 [tokens]."""
        length_at = np.zeros(len(words.starts), dtype=np.int64)
        for length, hashes in words.ngrams():
            if length == 1:
                continue
            hits, _ = _find(self.hashes, hashes)
            length_at[hits[words.room[hits] >= length]] = length
        layer = np.zeros(tokens, dtype=np.uint8)
        free = 0
        edges = np.append(words.starts, tokens)
        for word in np.flatnonzero(length_at).tolist():
            if word >= free:
                free = word + int(length_at[word])
                layer[edges[word] : edges[free]] = 2
                layer[edges[word]] = 1
        return layer


def words_of(token_ids: Array, word_starts: Array, sentence_offsets: IntArray, wordlike: npt.NDArray[np.bool_]) -> Words:
    """Find the words of a run of tokens.

    wordlike: does a token hold a letter or digit, bool [vocabulary]; a word counts when its first token does.
    """
    begins = word_starts.astype(bool)
    begins[sentence_offsets[:-1]] = True
    starts = np.flatnonzero(begins)
    place = np.arange(len(token_ids)) - np.repeat(starts, np.diff(np.append(starts, len(token_ids))))
    mixed = mix(token_ids.astype(np.uint64) + (place.astype(np.uint64) << np.uint64(32)))
    hashes = np.add.reduceat(mixed, starts) if len(starts) else np.zeros(0, dtype=np.uint64)
    ends_run = np.zeros(len(starts) + 1, dtype=bool)
    ends_run[np.searchsorted(starts, sentence_offsets[1:])] = True
    counts = wordlike[token_ids[starts]]
    # The run of a word ends at the next sentence end or at the next word that does not count.
    stops = np.append(np.flatnonzero(ends_run[:-1] | ~counts), len(starts))
    # Word w belongs to the stop after it: as many words as lie between two stops, each.
    following = np.repeat(stops, np.diff(stops, prepend=0))
    return Words(starts, hashes, np.where(counts, following - np.arange(len(starts)), 0))


def mine(words: Words, config: CollocationOptions) -> tuple[Lexicon, list[tuple[int, int, int, float]]]:
    """Return the lexicon of a run of words and, best first, what it holds: (first word, length, count, PMI)."""
    if not config.maximum or len(words.hashes) < 2:
        return Lexicon(np.zeros(0, dtype=np.uint64)), []
    tables = list(_frequent(words, config.minimum_count))
    found: list[tuple[Hashes, IntArray, IntArray, Array]] = []
    for length in range(2, len(tables) + 1):
        hashes, counts, places = tables[length - 1]
        found.append((hashes, counts, places, _pmi(words, tables, length)))
    lengths = np.concatenate([np.full(len(row[0]), n) for n, row in enumerate(found, start=2)])
    hashes, counts, places, pmi = (np.concatenate([row[column] for row in found]) for column in range(4))
    order = np.lexsort((hashes, -pmi))
    order = order[pmi[order] >= config.minimum_pmi][: config.maximum]
    rows = zip(places[order].tolist(), lengths[order].tolist(), counts[order].tolist(), pmi[order].tolist(), strict=True)
    return Lexicon(np.sort(hashes[order])), list(rows)


def _frequent(words: Words, minimum: int) -> Iterator[tuple[Hashes, IntArray, IntArray]]:
    """Yield for each length 1..5 the n-grams that occur often enough: sorted hashes, counts and first places."""
    alive = np.ones(len(words.hashes), dtype=bool)
    for length, hashes in words.ngrams():
        # An n-gram is frequent only where both of its (n-1)-grams are.
        alive = (alive[: len(hashes)] & alive[1 : len(hashes) + 1]) if length > 1 else alive
        places = np.flatnonzero(alive & (words.room[: len(hashes)] >= length))
        ranked = np.sort(hashes[places])
        edges = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])) if len(ranked) else np.zeros(0, dtype=np.int64)
        counts = np.diff(np.append(edges, len(ranked)))
        kept = counts >= minimum
        table, counts = ranked[edges[kept]], counts[kept]
        hits, rows = _find(table, hashes[places])
        alive = np.zeros(len(hashes), dtype=bool)
        alive[places[hits]] = True
        # Written from the last hit to the first, so that the first one stays.
        first = np.zeros(len(table), dtype=np.int64)
        first[rows[::-1]] = places[hits[::-1]]
        yield table, counts, first


def _pmi(words: Words, tables: list[tuple[Hashes, IntArray, IntArray]], length: int) -> Array:
    """Return log p(n-gram) less the highest sum of log p over the ways to cut it; float64 [n-grams]."""
    _, counts, places = tables[length - 1]
    total = np.log(len(words.hashes))
    logs: dict[tuple[int, int], Array] = {}
    for size in range(1, length):
        table, table_counts, _ = tables[size - 1]
        for start in range(length - size + 1):
            rows = np.searchsorted(table, words.ngrams_at(places + start, size))
            logs[start, size] = np.log(table_counts[rows]) - total
    best = np.full(len(places), -np.inf)
    for cuts in range(1, length):
        for inner in combinations(range(1, length), cuts):
            edges = (0, *inner, length)
            parts = [logs[a, b - a] for a, b in pairwise(edges)]
            best = np.maximum(best, np.sum(parts, axis=0))
    score: Array = np.log(counts) - total - best
    return score


def _find(table: Hashes, hashes: Hashes) -> tuple[IntArray, IntArray]:
    """Return which of the hashes stand in a sorted table, and in which of its rows."""
    if not len(table):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    # One look at a small table of leading bits spares most of the searches.
    shift = np.uint64(64 - _TABLE_BITS)
    present = np.zeros(1 << _TABLE_BITS, dtype=bool)
    present[table >> shift] = True
    likely = np.flatnonzero(present[hashes >> shift])
    rows = np.minimum(np.searchsorted(table, hashes[likely]), len(table) - 1)
    found = table[rows] == hashes[likely]
    return likely[found], rows[found]
