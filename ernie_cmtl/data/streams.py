"""The samples of a task as an endless order: each epoch a new permutation, any place of it computed at once."""

import numpy as np

from ernie_cmtl.errors import UserError
from ernie_cmtl.randomness import KeyedGenerator, KeyedPermutation, derive_key
from ernie_cmtl.records import Example, IntArray
from ernie_cmtl.task import SampleIndex, TaskCorpus, TaskInstance

_CHUNK, _CHUNKS_KEPT = 1024, 8


class SampleStream:
    """Sample number n of a task instance, for n = 0, 1, 2, ...; a pure function of (seed, corpus, options, n)."""

    def __init__(self, instance: TaskInstance, corpus: TaskCorpus, row_length: int, seed: int) -> None:
        length = min(row_length, instance.task.options.maximum_length or row_length)
        self.instance = instance
        self.corpus = corpus
        self.index: SampleIndex = instance.task.index(corpus, length)
        if not len(self.index):
            needed = instance.task.minimum_sentences
            raise UserError(
                f"task {instance.name!r} finds no sample: no document has {needed} sentence(s) in a row within {length} tokens"
            )
        self.longest = int(self.index.slots.max())
        self._key = derive_key(seed, "order", instance.name)
        self._generator = KeyedGenerator(derive_key(seed, "example", instance.name))
        self._chunks: dict[int, tuple[list[int], list[int]]] = {}

    def __len__(self) -> int:
        """Samples in an epoch."""
        return len(self.index)

    def _find(self, number: int) -> tuple[int, int]:
        """Return the place in the index and the slot of sample `number`; computed for a chunk of neighbours at once."""
        chunk, place = divmod(number, _CHUNK)
        if chunk not in self._chunks:
            if len(self._chunks) == _CHUNKS_KEPT:
                del self._chunks[next(iter(self._chunks))]
            places = self._places(chunk * _CHUNK, (chunk + 1) * _CHUNK)
            self._chunks[chunk] = (places.tolist(), self.index.slots[places].tolist())
        places_of_chunk, slots = self._chunks[chunk]
        return places_of_chunk[place], slots[place]

    def _places(self, first: int, last: int) -> IntArray:
        """Return which samples of the index are the numbers first..last-1."""
        parts = []
        while first < last:
            epoch, start = divmod(first, len(self))
            stop = min(len(self), start + last - first)
            order = KeyedPermutation(len(self), derive_key(self._key, epoch))
            parts.append(order(np.arange(start, stop)))
            first += stop - start
        return np.concatenate(parts)

    def slot(self, number: int) -> int:
        """Return the most tokens that sample `number` can have."""
        return self._find(number)[1]

    def source(self, number: int) -> tuple[int, int]:
        """Return the first token of sample `number` and one past its last."""
        place = self._find(number)[0]
        return int(self.index.starts[place]), int(self.index.stops[place])

    def example(self, number: int) -> Example | None:
        """Make the example of sample `number`; None when it holds nothing to predict."""
        task = self.instance.task
        text = self.corpus.passage(*self.source(number), task.layers)
        return task.example(text, self._generator.at(number), self.corpus)
