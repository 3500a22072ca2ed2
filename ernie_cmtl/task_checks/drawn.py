"""Samples of a stream that are checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.task_checks.text_view import Sample

REMADE = 200
"""Samples that are made again."""


@dataclass(frozen=True)
class Drawn:
    """Samples of a stream as they came, and how to open the stream anew."""

    stream: SampleStream
    samples: Sequence[Sample]
    empty: int
    """Samples that held nothing to predict."""
    length: int
    reopen: Callable[[int], SampleStream]
    """Seed -> a new stream with a new task."""
    seed: int
