"""The samples of a task as an endless order: each epoch a new permutation, any place of it computed at once."""

import numpy as np

from ernie_cmtl.errors import UserError
from ernie_cmtl.randomness import KeyedGenerator, KeyedPermutation, derive_key
from ernie_cmtl.records import Example, IntArray
from ernie_cmtl.task import SampleIndex, TaskCorpus, TaskInstance

_AHEAD = 1024


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
        self._epoch, self._permutation = -1, KeyedPermutation(1, 0)
        self._ahead_from, self._ahead_slots = 0, np.zeros(0, dtype=np.int64).tolist()

    def __len__(self) -> int:
        """Samples in an epoch."""
        return len(self.index)

    def _places(self, numbers: IntArray) -> IntArray:
        """Return which samples of the index stand at some numbers of one epoch."""
        epoch = int(numbers[0]) // len(self)
        if epoch != self._epoch:
            self._epoch, self._permutation = epoch, KeyedPermutation(len(self), derive_key(self._key, epoch))
        return self._permutation(numbers - epoch * len(self))

    def slot(self, number: int) -> int:
        """Return the most tokens that sample `number` can have."""
        place = number - self._ahead_from
        if not 0 <= place < len(self._ahead_slots):
            epoch_end = (number // len(self) + 1) * len(self)
            numbers = np.arange(number, min(number + _AHEAD, epoch_end))
            self._ahead_from, self._ahead_slots = number, self.index.slots[self._places(numbers)].tolist()
            place = 0
        return int(self._ahead_slots[place])

    def source(self, number: int) -> tuple[int, int]:
        """Return the first token of sample `number` and one past its last."""
        place = int(self._places(np.array([number]))[0])
        return int(self.index.starts[place]), int(self.index.stops[place])

    def example(self, number: int) -> Example | None:
        """Make the example of sample `number`; None when it holds nothing to predict."""
        task = self.instance.task
        text = self.corpus.passage(*self.source(number), task.layers)
        return task.example(text, self._generator.at(number), self.corpus)
