"""The rule that a task reads every layer it declares."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.records import Array, IntArray
from ernie_cmtl.task import TaskCorpus
from ernie_cmtl.task_checks.drawn import REMADE, Drawn
from ernie_cmtl.task_checks.text_view import Sample


@dataclass
class _WatchedLayout:
    """A layout that knows which layers were read."""

    layout: TaskCorpus
    read: set[str] = field(default_factory=set)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layout, name)

    def layer_at(self, name: str, tokens: IntArray) -> Array:
        """Return the values of a layer at some tokens."""
        self.read.add(name)
        return self.layout.layer_at(name, tokens)


def layers_read(drawn: Drawn) -> Iterator[str]:
    """Yield each layer that the task declares and no sample reads."""
    stream, task = drawn.stream, drawn.stream.instance.task
    watched = _WatchedLayout(stream.corpus)
    if task.layers:
        task.index(cast(TaskCorpus, watched), drawn.length)
    for layer in sorted(set(task.layers) - watched.read):
        if not any(_reads(stream, sample, layer) for sample in drawn.samples[:REMADE]):
            yield f"layer {layer!r} is declared and never read"


def _reads(stream: SampleStream, sample: Sample, layer: str) -> bool:
    """Tell whether an example cannot be made without a layer."""
    text = stream.corpus.passage(sample.start, sample.stop, stream.instance.layers)
    without = replace(
        text, layers={name: values for name, values in text.layers.items() if name != layer}
    )
    try:
        stream.instance.task.example(without, np.random.default_rng(sample.number), stream.corpus)
    except KeyError:
        return True
    return False
