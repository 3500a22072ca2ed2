"""Examples laid out in rows."""

import numpy as np
import pytest

from ernie_cmtl.data.batching import make_batch
from ernie_cmtl.records import MASKED_TOKEN, Batch, Example, Targets
from ernie_cmtl.task_instance import run_heads
from tests.support.instances import CLS, PAD, SEP, make_instances

LENGTH = 12


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


MASKED = Example(
    ints(CLS, 20, 3, 22, SEP), ints(0, 0, 0, 0, 0), {MASKED_TOKEN: Targets(ints(2), ints(21))}
)  # fmt: skip
TAGGED = Example(
    ints(CLS, 23, 24, SEP, 25, SEP),
    ints(0, 0, 0, 0, 1, 1),
    {MASKED_TOKEN: Targets(ints(4), ints(26)), "tag": Targets(ints(1, 2), ints(2, 0))},
)
TAGGED_AGAIN = Example(ints(CLS, 27, SEP), ints(0, 0, 0), {"tag": Targets(ints(1), ints(1))})
CHOICE = Example(
    ints(CLS, 21, SEP, 22, SEP, CLS, 21, SEP, 23, 24, SEP),
    ints(0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1),
    {
        "next": Targets(np.array([[0, 5]]), ints(1)),
        "distance": Targets(ints(5), np.array([0.5], dtype=np.float32)),
    },
    sequence_lengths=(5, 6),
)
TOPICS = Example(
    ints(CLS, 28, SEP),
    ints(0, 0, 0),
    {
        "topic": Targets(ints(0), ints(2)),
        "weight": Targets(ints(1), np.float32([0.25])),
    },
)
# The second MASKED drew the row of another task.
ROWS = [
    [(1, 1, TAGGED), (0, 4, MASKED)],
    [],
    [(3, 0, CHOICE)],
    [(2, 7, TAGGED_AGAIN), (0, 5, MASKED), (4, 2, TOPICS)],
]


@pytest.fixture
def batch() -> Batch:
    instances = make_instances()
    return make_batch(ROWS, LENGTH, instances, run_heads(instances), PAD)


def test_each_example_lies_where_its_row_says(batch):
    assert batch.token_ids.shape == (4, LENGTH)
    for number, row in enumerate(ROWS):
        examples = [example for _, _, example in row]
        used = sum(len(example.token_ids) for example in examples)
        padding = [0] * (LENGTH - used)
        ids = [token for example in examples for token in example.token_ids]
        assert batch.token_ids[number].tolist() == ids + [PAD] * (LENGTH - used)
        types = [segment for example in examples for segment in example.token_type_ids]
        assert batch.token_type_ids[number].tolist() == types + padding


def test_positions_count_from_zero_in_each_sequence(batch):
    assert batch.position_ids.tolist() == [
        [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 0],
        [0] * 12,
        [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 0],
        [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 0],
    ]
    assert batch.sequence_starts.tolist() == [0, 6, 24, 29, 36, 39, 44]
    assert batch.sequence_lengths.tolist() == [6, 5, 5, 6, 3, 5, 3]


def test_tokens_carry_the_embedding_row_of_their_sample(batch):
    assert batch.task_type_ids.tolist() == [
        [1] * 6 + [4] * 5 + [0],
        [0] * 12,
        [0] * 12,
        [7] * 3 + [5] * 5 + [2] * 3 + [0],
    ]


def test_targets_point_into_the_flattened_batch_and_name_their_task(batch):
    found = {
        name: (targets.positions.tolist(), targets.labels.tolist(), targets.tasks.tolist())
        for name, targets in batch.targets.items()
    }
    assert found == {
        # One head for all tasks, the others are prefixed with their instance.
        "masked_token": ([4, 6 + 2, 39 + 2], [26, 21, 21], [1, 0, 0]),
        "tagging/tag": ([1, 2], [2, 0], [1, 1]),
        "tagging_again/tag": ([37], [1], [2]),
        "following/next": ([[24, 29]], [1], [3]),
        "following/distance": ([29], [0.5], [3]),
        "topics/topic": ([44], [2], [4]),
        "topics/weight": ([45], [0.25], [4]),
    }


def test_idle_heads_have_a_dummy_that_counts_nothing():
    instances = make_instances()
    heads = run_heads(instances)
    busy = make_batch(ROWS, LENGTH, instances, heads, PAD)
    idle = make_batch([[], []], LENGTH, instances, heads, PAD)
    assert set(idle.targets) == set(heads) == set(busy.targets)
    assert (idle.token_ids == PAD).all()
    assert len(idle.sequence_starts) == len(idle.sequence_lengths) == 0
    for name, targets in idle.targets.items():
        labelled = busy.targets[name]
        assert targets.tasks.tolist() == [-1]
        # A dummy has the shape and type of one real label, so that the head runs on it.
        assert targets.positions.shape == (1, *labelled.positions.shape[1:])
        assert targets.labels.shape == (1, *labelled.labels.shape[1:])
        assert (targets.positions.dtype, targets.labels.dtype) == (
            labelled.positions.dtype,
            labelled.labels.dtype,
        )
        assert not targets.positions.any()


def test_head_without_labels_is_idle_beside_busy_ones():
    instances = make_instances()
    batch = make_batch([[(0, 4, MASKED)]], LENGTH, instances, run_heads(instances), PAD)
    assert {
        name for name, targets in batch.targets.items() if targets.tasks.tolist() == [-1]
    } == set(batch.targets) - {MASKED_TOKEN}
