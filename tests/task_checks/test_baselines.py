"""Baselines find what was planted, and nothing where nothing is."""

import numpy as np
import pytest

from ernie_cmtl.task_checks.baselines import (
    binned,
    class_score,
    fit_and_predict,
    hashed_counts,
    regression_score,
    ridge_predict,
)

ROWS = 3000


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(labels.max() + 1)[labels]


def halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values[: ROWS // 2], values[ROWS // 2 :]


def score(keys: np.ndarray, labels: np.ndarray, groups: tuple[str, ...] = ()):
    (train, heldout), (fitted, judged) = halves(keys), halves(labels)
    return class_score(
        fit_and_predict(train, one_hot(fitted), heldout), judged, np.arange(len(judged)), groups
    )


def test_a_key_that_tells_the_class_is_found(rng):
    labels = rng.integers(3, size=ROWS)
    told = score(np.stack([rng.integers(50, size=ROWS), labels * 7], axis=1), labels)
    assert (told.value, told.leaks) == (1.0, True)
    assert told.chance == pytest.approx(1 / 3, abs=0.05)


def test_a_key_that_tells_a_little_is_found_to_do_so(rng):
    labels = rng.integers(2, size=ROWS)
    key = np.where(rng.random(ROWS) < 0.7, labels, 1 - labels)
    told = score(key[:, None], labels)
    assert told.value == pytest.approx(0.7, abs=0.03)
    assert told.leaks


def test_two_keys_add_up(rng):
    first, second = rng.integers(10, size=(2, ROWS))
    labels = (first + second > 9).astype(np.int64)
    alone, both = score(first[:, None], labels), score(np.stack([first, second], axis=1), labels)
    assert alone.value < 0.8
    assert both.value > 0.9


def test_keys_that_tell_nothing_do_not_leak(rng):
    labels = rng.integers(2, size=ROWS)
    # Keys that come about once: a table that trusts them would only remember its training rows.
    found = score(rng.integers(ROWS, size=(ROWS, 4)), labels)
    assert found.value == pytest.approx(0.5, abs=0.05)
    assert not found.leaks


def test_without_keys_it_is_the_majority(rng):
    labels = (rng.random(ROWS) < 0.2).astype(np.int64)
    found = score(np.zeros((ROWS, 0), dtype=np.int64), labels)
    assert found.value == found.chance == pytest.approx(0.8, abs=0.03)


def test_keys_that_were_never_seen_add_nothing():
    predicted = fit_and_predict(
        np.array([[1], [2], [1], [2]]),
        np.array([[1.0], [0.0], [1.0], [0.0]]),
        np.array([[0], [3], [1]]),
    )
    assert predicted[:2, 0].tolist() == [0.5, 0.5]
    assert predicted[2, 0] > 0.5


def test_few_labels_do_not_leak_by_luck():
    """10 points above chance, twice: on 40 labels it is luck, on 4,000 it is not."""
    for count, leaks in ((40, False), (4000, True)):
        labels = np.tile([0, 1], count // 2)
        hits = np.repeat([True, True, True, False, False], count // 5)
        chosen = np.where(hits, labels, 1 - labels)
        found = class_score(one_hot(chosen), labels, np.arange(count))
        assert found.value - found.chance == pytest.approx(0.1)
        assert found.leaks is leaks


def test_labels_of_one_passage_count_as_one():
    labels = np.tile([0, 1], 2000)
    chosen = np.where(np.repeat([True, True, True, False, False], 800), labels, 1 - labels)
    assert class_score(one_hot(chosen), labels, np.arange(4000)).leaks
    assert not class_score(one_hot(chosen), labels, np.repeat(np.arange(20), 200)).leaks


def test_what_the_input_shows_is_given():
    """Three classes: a alone, b and c are told apart; who knows the group alone knows nothing."""
    labels = np.tile([0, 0, 1, 2], 500)
    groups = ("one", "two", "two")
    knows_groups = np.stack([labels == 0, labels > 0, labels > 0], axis=1).astype(float)
    assert class_score(knows_groups, labels, np.arange(2000)).leaks
    given = class_score(knows_groups, labels, np.arange(2000), groups)
    assert (given.value, given.chance, given.labels, given.leaks) == (0.5, 0.5, 1000, False)
    assert class_score(one_hot(labels), labels, np.arange(2000), groups).value == 1.0


def test_chance_is_never_below_one_of_the_classes():
    found = class_score(np.zeros((2, 4)), np.array([0, 1]), np.arange(2))
    assert found.chance == 0.5
    labels = np.array([0, 1, 2, 3])
    assert class_score(np.zeros((4, 8)), labels, labels).chance == 0.25


def test_bins_keep_order_and_take_in_what_lies_outside(rng):
    values = rng.normal(size=(2000, 1))
    train, heldout = binned(values, np.array([[-9.0], [0.0], [9.0]]))
    assert np.bincount(train[:, 0]).min() > 30
    assert (np.diff(train[np.argsort(values[:, 0]), 0]) >= 0).all()
    assert heldout[0, 0] == 0
    assert heldout[:, 0].tolist() == sorted(heldout[:, 0].tolist())


def test_bins_of_few_values_are_the_values():
    train, heldout = binned(np.array([[1], [1], [5], [9]] * 20), np.array([[1], [5], [9]]))
    assert len(np.unique(train)) == len(np.unique(heldout)) == 3


def test_a_bag_of_words_finds_a_planted_word_and_nothing_else(rng):
    labels = rng.integers(2, size=ROWS)
    texts = [rng.integers(100, 5000, size=40) for _ in range(ROWS)]
    planted = [
        np.append(text, 77) if label else text for text, label in zip(texts, labels, strict=True)
    ]
    (fitted, judged) = halves(labels)
    for made, leaks in ((texts, False), (planted, True)):
        counts = hashed_counts(made)
        predicted = ridge_predict(counts[: ROWS // 2], one_hot(fitted), counts[ROWS // 2 :])
        found = class_score(predicted, judged, np.arange(len(judged)))
        assert found.leaks is leaks
        assert found.value > 0.9 or not leaks


def test_regression_is_judged_by_the_variance_explained(rng):
    key = rng.integers(5, size=ROWS)
    noise = rng.normal(size=ROWS)
    for labels, value in ((key + 0 * noise, 1.0), (key + 2**0.5 * noise, 0.5), (noise, 0.0)):
        (train, heldout), (fitted, judged) = halves(key), halves(labels)
        predicted = fit_and_predict(train[:, None], fitted[:, None], heldout[:, None])
        found = regression_score(predicted[:, 0], judged, np.arange(len(judged)))
        assert found.value == pytest.approx(value, abs=0.06)
        assert found.leaks is (value > 0.1)
