"""The endless order of a task's samples."""

from pathlib import Path

import numpy as np
import pytest

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Example
from ernie_cmtl.run.instances import make_instance
from tests.support.corpora import build_corpus

CASES = [
    ("english", "knowledge_masking", 64),
    ("english", "sentence_reordering", 64),
    ("english", "capitalization", 64),
    ("chinese", "knowledge_masking", 64),
    ("chinese", "sentence_reordering", 128),
]


def open_stream(
    corpus: Corpus, task: str, length: int, seed: int = 1, name: str = "", **options: object
) -> SampleStream:
    instance = make_instance(
        name or task, 0, TaskConfig.model_validate({"type": task, **options}), corpus
    )
    return SampleStream(instance, corpus.split("train"), length, seed)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def opened(request: pytest.FixtureRequest) -> tuple[Corpus, str, int]:
    corpus, task, length = request.param
    return request.getfixturevalue(corpus), task, length


def as_lists(example: Example | None) -> object:
    if example is None:
        return None
    targets = {
        name: (t.positions.tolist(), t.labels.tolist()) for name, t in example.targets.items()
    }
    return (
        example.token_ids.tolist(),
        example.token_type_ids.tolist(),
        targets,
        example.sequence_lengths,
    )


def test_each_epoch_shows_every_sample_once_and_in_another_order(opened):
    stream = open_stream(*opened)
    size = len(stream)
    epochs = [
        [stream.place(number) for number in range(epoch * size, (epoch + 1) * size)]
        for epoch in range(3)
    ]
    every = list(zip(stream.index.starts.tolist(), stream.index.stops.tolist(), strict=True))
    assert len(set(every)) == size
    for epoch in epochs:
        assert epoch != every
        assert sorted(epoch) == every
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_slot_bounds_the_example_and_a_row_bounds_the_slot(opened):
    stream = open_stream(*opened)
    length = opened[2]
    longest = 0
    for number in range(2 * len(stream)):
        slot = stream.slot(number)
        longest = max(longest, slot)
        example = stream.example(number)
        assert slot <= length
        assert example is None or len(example.token_ids) <= slot
        start, stop = stream.place(number)
        assert stop - start < slot
    assert stream.longest == longest


def test_slots_do_not_depend_on_the_order_of_asking(english):
    # Slots are looked up ahead, a thousand at a time within an epoch.
    stream = open_stream(english, "sentence_reordering", 64)
    count = 12 * len(stream)
    in_order = [stream.slot(number) for number in range(count)]
    numbers = np.random.default_rng(0).permutation(count).tolist()
    other = open_stream(english, "sentence_reordering", 64)
    assert [other.slot(number) for number in numbers] == [in_order[number] for number in numbers]
    assert len(set(in_order)) > 5


def test_example_is_the_same_whatever_was_drawn_before(opened):
    stream = open_stream(*opened)
    numbers = [*range(10), len(stream) - 1, len(stream), 5 * len(stream) + 3]
    first = [as_lists(stream.example(number)) for number in numbers]
    assert [as_lists(stream.example(number)) for number in reversed(numbers)] == first[::-1]
    for number, expected in zip(numbers, first, strict=True):
        assert as_lists(open_stream(*opened).example(number)) == expected


def test_a_passage_is_masked_anew_in_each_epoch(english):
    stream = open_stream(english, "knowledge_masking", 64)
    size = len(stream)
    place = {stream.place(number): number for number in range(size)}
    again = [(place[stream.place(number)], number) for number in range(size, size + 50)]
    differing = [
        as_lists(stream.example(first)) != as_lists(stream.example(second))
        for first, second in again
    ]
    assert sum(differing) >= 45


def segment_counts(stream: SampleStream, first: int) -> tuple[int, ...]:
    """The first thing that sentence reordering draws, whatever the text: into how many segments it
    cuts.
    """
    examples = [stream.example(number) for number in range(first, first + 100)]
    return tuple(int(example.token_type_ids[-1]) + 1 for example in examples if example)


def test_seed_instance_name_and_epoch_give_other_orders_and_other_draws(english):
    streams = [
        open_stream(english, "sentence_reordering", 64, seed, name)
        for seed, name in [(1, "order"), (2, "order"), (1, "again")]
    ]
    orders = {tuple(stream.place(number) for number in range(100)) for stream in streams}
    assert len(orders) == 3
    draws = {segment_counts(stream, first) for stream in streams for first in (0, len(stream))}
    assert len(draws) == 6


def test_maximum_length_shortens_the_samples(english):
    for task in ("knowledge_masking", "sentence_reordering"):
        stream = open_stream(english, task, 64, maximum_length=32)
        assert 16 < stream.longest <= 32
        assert open_stream(english, task, 64, maximum_length=500).longest <= 64


def test_corpus_without_a_fitting_sample_is_refused(tmp_path: Path):
    sentence = " ".join(["word"] * 40) + "."
    build_corpus(tmp_path, [f"Number {number}. {sentence} {sentence}" for number in range(8)])
    corpus = Corpus(tmp_path / "corpus")
    with pytest.raises(
        UserError, match=r"'sentence_reordering' finds no sample.* 3 sentence\(s\) .* 32 tokens"
    ):
        open_stream(corpus, "sentence_reordering", 32)
    assert len(open_stream(corpus, "knowledge_masking", 32)) > 0
