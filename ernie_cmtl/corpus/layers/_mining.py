"""Collocations: word n-grams that occur together more often than their parts explain, mined in the
corpus itself.

After PMI-Masking (Levine et al. 2021, arXiv 2010.01825): an n-gram of 2 to 5 words is scored by the
pointwise mutual information of its best segmentation, so that a phrase needs every one of its
joints. Words are those of the stored layer, so mining, matching and masking speak of the same
units.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ernie_cmtl.corpus.layers import LayerOptions
from ernie_cmtl.corpus.layers._ngrams import BLOCK, LONGEST, Hashes, Words, blocks, extend
from ernie_cmtl.randomness import mix
from ernie_cmtl.records import Array, IntArray

_TABLE_BITS = 22
"""Leading bits by which n-grams are counted together before they are counted one by one."""
_FEWEST_BITS = 12


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
class Lexicon:
    """The collocations of a corpus."""

    hashes: Hashes
    """Sorted hashes of the n-grams, all lengths together; uint64 [C]."""

    def spans(self, words: Words, tokens: int) -> npt.NDArray[np.uint8]:
        """Mark n-grams over a run of tokens, longest match first from the left: 1 starts, 2 goes
        on; uint8 [tokens].
        """
        length_at = self._longest(words)
        found = np.flatnonzero(length_at)
        kept, free = [], 0
        for word, length in zip(found.tolist(), length_at[found].tolist(), strict=True):
            if word >= free:
                kept.append(word)
                free = word + length
        firsts = np.array(kept, dtype=np.int64)
        edges = np.append(words.starts, tokens)
        change = np.zeros(tokens + 1, dtype=np.int8)
        change[edges[firsts]] = 2
        change[edges[firsts + length_at[firsts]]] -= 2
        layer = np.cumsum(change[:-1], dtype=np.int8).astype(np.uint8)
        layer[edges[firsts]] = 1
        return layer

    def _longest(self, words: Words) -> IntArray:
        """Return how many words the longest n-gram that starts at each word has, 0 where there is
        none; int64 [W].
        """
        length_at = np.zeros(len(words.hashes), dtype=np.int64)
        searched = _Searched(self.hashes)
        # A block stays in the cache through all lengths.
        for start in range(0, len(words.hashes), BLOCK):
            following = words.hashes[start : start + BLOCK + LONGEST - 1]
            hashes = mix(following)
            for length in range(2, min(LONGEST, len(following)) + 1):
                hashes = extend(hashes[:-1], following[length - 1 :])
                hits = searched.find(hashes)[0] + start
                length_at[hits[words.room[hits] >= length]] = length
        return length_at


class _Searched:
    """A sorted table of hashes; one look at a smaller table of leading bits spares most of the
    searches in it.
    """

    def __init__(self, table: Hashes) -> None:
        self._table = table
        self._shift = np.uint64(64 - max(_FEWEST_BITS, len(table).bit_length() + 4))
        self._present = np.zeros(1 << (64 - int(self._shift)), dtype=bool)
        self._present[table >> self._shift] = True

    def find(self, hashes: Hashes) -> tuple[IntArray, IntArray]:
        """Return which of the hashes stand in the table, and in which of its rows."""
        likely = np.flatnonzero(self._present[hashes >> self._shift])
        rows = np.searchsorted(self._table, hashes[likely])
        found = (
            self._table.take(rows, mode="clip") == hashes[likely]
            if len(rows)
            else rows.astype(bool)
        )
        return likely[found], rows[found]


def mine(
    words: Words, config: CollocationOptions
) -> tuple[Lexicon, list[tuple[int, int, int, float]]]:
    """Return the lexicon of a run of words and, best first, what it holds: (first word, length,
    count, PMI).
    """
    if not config.maximum or len(words.hashes) < 2:
        return Lexicon(np.zeros(0, dtype=np.uint64)), []
    tables = list(_frequent(words, config.minimum_count))
    found: list[tuple[Hashes, IntArray, IntArray, Array]] = []
    for length in range(2, len(tables) + 1):
        hashes, counts, places = tables[length - 1]
        found.append((hashes, counts, places, _pmi(words, tables, length)))
    lengths = np.concatenate([np.full(len(row[0]), n) for n, row in enumerate(found, start=2)])
    hashes, counts, places, pmi = (
        np.concatenate([row[column] for row in found]) for column in range(4)
    )
    order = np.lexsort((hashes, -pmi))
    order = order[pmi[order] >= config.minimum_pmi][: config.maximum]
    rows = zip(
        places[order].tolist(),
        lengths[order].tolist(),
        counts[order].tolist(),
        pmi[order].tolist(),
        strict=True,
    )
    return Lexicon(np.sort(hashes[order])), list(rows)


def _frequent(words: Words, minimum: int) -> Iterator[tuple[Hashes, IntArray, IntArray]]:
    """Yield for each length 1..5 the n-grams that occur often enough: sorted hashes, counts and
    first places.
    """
    places = np.flatnonzero(words.room)
    hashes = np.concatenate([mix(words.hashes[places[part]]) for part in blocks(len(places))])
    for length in range(1, LONGEST + 1):
        if length > 1:
            # Whatever shares its leading bits with too few others need not be sorted; most words by
            # themselves are frequent.
            leading = (hashes >> np.uint64(64 - _TABLE_BITS)).view(np.int64)
            kept = (np.bincount(leading, minlength=1 << _TABLE_BITS) >= minimum)[leading]
            places, hashes = places[kept], hashes[kept]
        table, counts = _counted(hashes, minimum)
        yield table, counts, _first_places(table, hashes, places)
        # An n-gram is frequent only where both of its (n-1)-grams are.
        alive = np.zeros(len(words.hashes) + 1, dtype=bool)
        alive[places] = True
        longer = alive[1:][places] & (words.room[places] > length)
        places, hashes = places[longer], hashes[longer]
        parts = blocks(len(places))
        hashes = np.concatenate(
            [extend(hashes[part], words.hashes[places[part] + length]) for part in parts]
        )


def _counted(hashes: Hashes, minimum: int) -> tuple[Hashes, IntArray]:
    """Return the hashes that occur often enough, sorted, and how often each does."""
    ranked = np.sort(hashes)
    edges = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])[: len(ranked)])
    counts = np.diff(edges, append=len(ranked))
    return ranked[edges[counts >= minimum]], counts[counts >= minimum]


def _first_places(table: Hashes, hashes: Hashes, places: IntArray) -> IntArray:
    """Return at which of the places each hash of a sorted table stands first; int64 [table]."""
    first = np.zeros(len(table), dtype=np.int64)
    missing = np.arange(len(table))
    # Block after block: what was found is not searched for again.
    for start in range(0, len(hashes), BLOCK):
        hits, rows = _Searched(table[missing]).find(hashes[start : start + BLOCK])
        # Written from the last hit to the first, so that the first one stays.
        first[missing[rows[::-1]]] = places[start + hits[::-1]]
        missing = np.delete(missing, rows)
    return first


def _pmi(words: Words, tables: list[tuple[Hashes, IntArray, IntArray]], length: int) -> Array:
    """Return log p(n-gram) less the highest sum of log p over the ways to cut it; float64
    [n-grams].
    """
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
