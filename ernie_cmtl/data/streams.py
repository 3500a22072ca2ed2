"""The samples of a task as an endless order: each epoch a new permutation, any place of it computed
at once.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ernie_cmtl.data.masking import add_masked_tokens
from ernie_cmtl.errors import UserError
from ernie_cmtl.randomness import KeyedGenerator, KeyedPermutation, derive_key
from ernie_cmtl.records import Example, IntArray
from ernie_cmtl.task import SampleIndex, TaskCorpus
from ernie_cmtl.task_instance import TaskInstance

_CHUNK, _CHUNKS_KEPT = 1024, 8
_log = logging.getLogger(__name__)

MixturePart = tuple[Collection[str], float]
"""Sources that are drawn from together, in proportion to what there is of them, and their part of
the tokens.
"""


@dataclass(frozen=True)
class _Part:
    """The samples of one part of the mixture."""

    places: IntArray
    """Of the index; int64 [N]."""
    quota: int
    """How many of each chunk of samples come from here."""
    key: int


class SampleStream:
    """Sample number n of a task instance, for n = 0, 1, 2, ...; a pure function of (seed, corpus,
    options, mixture, n).
    """

    def __init__(
        self,
        instance: TaskInstance,
        corpus: TaskCorpus,
        maximum_length: int,
        seed: int,
        mixture: Sequence[MixturePart] = (),
    ) -> None:
        """mixture: parts of the text with the share of tokens that each gives; none: all of it, as
        much as there is.
        """
        length = min(maximum_length, instance.task.options.maximum_length or maximum_length)
        if corpus.documents < (needed := instance.task.minimum_documents):
            raise UserError(
                f"task {instance.name!r} needs text of {needed} documents; there is "
                f"{corpus.documents}"
            )
        self.instance = instance
        self.corpus = corpus
        self.index: SampleIndex = instance.task.index(corpus, length)
        self._key = derive_key(seed, "order", instance.name)
        self._parts = self._divide(mixture)
        if not self._parts:
            needed = instance.task.minimum_sentences
            raise UserError(
                f"task {instance.name!r} finds no sample: no document has {needed} sentence(s) in "
                f"a row within {length} tokens"
            )
        self.longest = max(int(self.index.slots[part.places].max()) for part in self._parts)
        self._task_row_key = derive_key(seed, "task row", instance.name)
        self._generator = KeyedGenerator(derive_key(seed, "example", instance.name))
        self._chunks: dict[int, list[tuple[int, int, int]]] = {}

    def _divide(self, mixture: Sequence[MixturePart]) -> list[_Part]:
        """Divide the index by the parts of the mixture, and each chunk of samples so that tokens
        come in their shares.
        """
        if not mixture:
            return [_Part(np.arange(len(self.index)), _CHUNK, self._key)] if len(self.index) else []
        sources = self.corpus.sources(self.index.starts)
        found = [
            (names, weight, np.flatnonzero(np.isin(sources, sorted(names))))
            for names, weight in mixture
            if weight > 0
        ]
        if missing := [name for names, _, places in found if not len(places) for name in names]:
            _log.warning(
                "task %s finds no sample in %s; the other sources give its part",
                self.instance.name,
                ", ".join(missing),
            )
        found = [row for row in found if len(row[2])]
        # A source of short samples gives more of them for the same tokens.
        wanted = np.array([weight / self.index.slots[places].mean() for _, weight, places in found])
        quotas = _apportion(wanted, _CHUNK)
        return [
            _Part(places, quota, derive_key(self._key, "part", *sorted(names)))
            for (names, _, places), quota in zip(found, quotas, strict=True)
        ]

    def __len__(self) -> int:
        """Samples that differ."""
        return sum(len(part.places) for part in self._parts)

    def _find(self, number: int) -> tuple[int, int, int]:
        """Return start, stop and slot of sample `number`; computed for a chunk of neighbours at
        once.
        """
        chunk, place = divmod(number, _CHUNK)
        if chunk not in self._chunks:
            if len(self._chunks) == _CHUNKS_KEPT:
                del self._chunks[next(iter(self._chunks))]
            places, index = self._places(chunk), self.index
            columns = (
                column[places].tolist() for column in (index.starts, index.stops, index.slots)
            )
            self._chunks[chunk] = list(zip(*columns, strict=True))
        return self._chunks[chunk][place]

    def _places(self, chunk: int) -> IntArray:
        """Return which samples of the index a chunk holds: each part's next ones, spread among
        those of the others.
        """
        found = np.empty(_CHUNK, dtype=np.int64)
        order = np.arange(_CHUNK)
        if len(self._parts) > 1:
            order = KeyedPermutation(_CHUNK, derive_key(self._key, "mixture", chunk))(order)
        first = 0
        for part in self._parts:
            turns = np.sort(order[first : first + part.quota])
            found[turns] = _next_of(part, chunk * part.quota, (chunk + 1) * part.quota)
            first += part.quota
        return found

    def slot(self, number: int) -> int:
        """Return the most tokens that sample `number` can have."""
        return self._find(number)[2]

    def place(self, number: int) -> tuple[int, int]:
        """Return the first token of sample `number` and one past its last."""
        start, stop, _ = self._find(number)
        return start, stop

    def task_row(self, number: int) -> int:
        """Return the row of the task embedding that sample `number` gets."""
        rows = self.instance.rows
        return (
            rows[derive_key(self._task_row_key, number) % len(rows)] if len(rows) > 1 else rows[0]
        )

    def example(self, number: int) -> Example | None:
        """Make the example of sample `number`; None when it holds nothing to predict."""
        task, rng = self.instance.task, self._generator.at(number)
        example = task.example(
            self.corpus.passage(*self.place(number), self.instance.layers), rng, self.corpus
        )
        if example is None or not task.options.masked_tokens:
            return example
        masking = task.options.masking
        example = add_masked_tokens(
            example, task.vocabulary, masking.rate_at(number), rng, masking.single_tokens
        )
        return example if example.targets else None


def _next_of(part: _Part, first: int, last: int) -> IntArray:
    """Return the samples first..last-1 of a part: epoch after epoch, each in an order of its
    own.
    """
    found = []
    while first < last:
        epoch, start = divmod(first, len(part.places))
        stop = min(len(part.places), start + last - first)
        order = KeyedPermutation(len(part.places), derive_key(part.key, epoch))
        found.append(part.places[order(np.arange(start, stop))])
        first += stop - start
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def _apportion(wanted: npt.NDArray[np.float64], total: int) -> list[int]:
    """Divide a total in proportion to what is wanted: whole numbers, at least 1, by largest
    remainder.
    """
    if not len(wanted):
        return []
    exact = np.maximum(wanted / wanted.sum() * (total - len(wanted)), 0)
    quotas = np.floor(exact).astype(np.int64)
    rest = total - len(wanted) - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:rest]] += 1
    return [int(quota) + 1 for quota in quotas]
