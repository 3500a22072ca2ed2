"""Groups of tasks part by average linkage of known cosines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.evaluation.related_parts import related_parts


def table_of(cosines: np.ndarray, tasks: list[str]) -> dict[str, dict[str, float | None]]:
    return {
        task: {
            other: None if np.isnan(cosines[i, j]) else float(cosines[i, j])
            for j, other in enumerate(tasks)
            if i != j
        }
        for i, task in enumerate(tasks)
    }


@settings(deadline=None)
@given(st.integers(2, 9), st.floats(-0.9, 0.9), st.integers(0, 2**32 - 1))
def test_parts_are_those_of_scipys_average_linkage(count: int, threshold: float, seed: int) -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    drawn = np.random.default_rng(seed).uniform(-1, 1, (count, count))
    cosines = (drawn + drawn.T) / 2
    upper = np.triu_indices(count, 1)
    tree = hierarchy.linkage(1 - cosines[upper], method="average")
    labels = hierarchy.fcluster(tree, 1 - threshold, criterion="distance")
    tasks = [f"task{number}" for number in range(count)]
    expected: dict[int, list[str]] = {}
    for task, label in zip(tasks, labels, strict=True):
        expected.setdefault(int(label), []).append(task)
    found = related_parts(tasks, table_of(cosines, tasks), threshold)
    assert found == sorted(expected.values(), key=lambda part: int(part[0][4:]))


def test_a_task_of_which_nothing_is_known_stays_in_the_first_part() -> None:
    tasks = ["masking", "order", "distance", "relevance"]
    cosines = np.full((4, 4), np.nan)
    cosines[1:, 1:] = [[1, 0.5, -0.5], [0.5, 1, -0.4], [-0.5, -0.4, 1]]
    found = related_parts(tasks, table_of(cosines, tasks), 0.0)
    assert found == [["masking", "order", "distance"], ["relevance"]]


def test_where_nothing_is_known_nothing_parts() -> None:
    tasks = ["masking", "order"]
    assert related_parts(tasks, table_of(np.full((2, 2), np.nan), tasks), 1.0) == [tasks]
