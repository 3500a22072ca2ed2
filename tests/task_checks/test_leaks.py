"""Every kind of head has baselines that find a planted leak, and are silent where there is none."""

from collections.abc import Callable

import numpy as np
import pytest

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.records import Example, Targets
from ernie_cmtl.task import HeadSpec
from ernie_cmtl.task_checks.leaks import Leak, find_leaks, label_balance
from ernie_cmtl.task_checks.text_view import Sample, TextView, token_classes

ROWS = 600
Make = Callable[[np.random.Generator, np.ndarray], Targets]
"""(rng, tokens) -> the labels of a sequence; it may write to the tokens."""


def view(corpus: Corpus, seed: int, make: Make, sequences: int = 1) -> TextView:
    """Random tokens in sequences of random lengths, each sample a passage of its own; labels as a
    function says.
    """
    rng, vocabulary = np.random.default_rng(seed), corpus.vocabulary
    text = corpus.split("train")
    samples = []
    for number in range(ROWS):
        parts = [
            rng.choice(vocabulary.ordinary_ids[:200], size=rng.integers(12, 30))
            for _ in range(sequences)
        ]
        for part in parts:
            part[[0, -1]] = vocabulary.cls_id, vocabulary.sep_id
        lengths = tuple(map(len, parts))
        tokens = np.concatenate(parts)
        targets = make(rng, tokens if sequences == 1 else np.array(lengths))
        example = Example(
            tokens, np.repeat(np.arange(sequences), lengths), {"head": targets}, lengths
        )
        samples.append(Sample(number, number * 10, number * 10 + 5, example))
    classes = token_classes(corpus.tokenizer.convert_ids_to_tokens(list(range(vocabulary.size))))
    return TextView(samples, text, vocabulary, classes)


def leaks(corpus: Corpus, spec: HeadSpec, make: Make, sequences: int = 1) -> dict[str, Leak]:
    found = find_leaks(spec, view(corpus, 1, make, sequences), view(corpus, 2, make, sequences), {})
    return {leak["baseline"]: leak for leak in found}


def leaking(found: dict[str, Leak]) -> set[str]:
    return {name for name, leak in found.items() if leak["leaks"]}


def at_words(labels: Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]) -> Make:
    """Labels of the inner tokens but the first and the last."""

    def make(rng: np.random.Generator, tokens: np.ndarray) -> Targets:
        places = np.arange(2, len(tokens) - 2)
        return Targets(places, labels(rng, tokens, places))

    return make


TOKEN_LEAKS = {
    "token_identity": lambda rng, tokens, places: tokens[places] % 2,
    "neighbours": lambda rng, tokens, places: tokens[places - 1] % 2,
    "token_position": lambda rng, tokens, places: (places > 9).astype(np.int64),
}


@pytest.mark.parametrize("baseline", TOKEN_LEAKS)
@pytest.mark.parametrize("kind", ["token_class", "token_regression"])
def test_baselines_of_tokens_find_what_they_are_for(english, baseline, kind):
    dtype, classes = (np.int64, 2) if kind == "token_class" else (np.float32, 1)
    planted = at_words(lambda *given: TOKEN_LEAKS[baseline](*given).astype(dtype))
    found = leaks(english, HeadSpec("head", kind, classes), planted)
    assert leaking(found) == {baseline}
    assert found[baseline]["accuracy"] > 0.9
    assert found[baseline]["measure"] == ("accuracy" if kind == "token_class" else "r2")


@pytest.mark.parametrize(
    ("kind", "dtype", "classes"),
    [("token_class", np.int64, 2), ("token_regression", np.float32, 1)],
)
def test_baselines_of_tokens_find_nothing_in_chance(english, kind, dtype, classes):
    found = leaks(
        english,
        HeadSpec("head", kind, classes),
        at_words(lambda rng, _, p: rng.integers(2, size=len(p)).astype(dtype)),
    )
    assert set(found) == {"majority", "token_identity", "neighbours", "token_position"}
    assert not leaking(found)


def test_the_length_tells_a_number(english):
    spec = HeadSpec("head", "sequence_regression")
    told = leaks(
        english,
        spec,
        lambda rng, tokens: Targets(np.zeros(1, np.int64), np.array([len(tokens)], np.float32)),
    )
    assert {"length", "segment_lengths"} <= leaking(told)
    assert told["length"]["accuracy"] > 0.95
    assert told["length"]["chance"] == 0.0
    assert not leaking(
        leaks(
            english,
            spec,
            lambda rng, _: Targets(np.zeros(1, np.int64), rng.random(1).astype(np.float32)),
        )
    )


def choice(right: Callable[[np.random.Generator, np.ndarray], int]) -> Make:
    def make(rng: np.random.Generator, lengths: np.ndarray) -> Targets:
        return Targets(np.append(0, np.cumsum(lengths)[:-1])[None], np.array([right(rng, lengths)]))

    return make


def test_the_longest_candidate_of_a_choice_is_found(english):
    spec = HeadSpec("head", "choice", 3)
    longest = leaks(english, spec, choice(lambda rng, lengths: int(lengths.argmax())), sequences=3)
    assert longest["length"]["accuracy"] > 0.9
    assert longest["length"]["samples"] == ROWS
    assert "majority" not in leaking(longest)
    assert not leaking(
        leaks(english, spec, choice(lambda rng, _: int(rng.integers(3))), sequences=3)
    )


def test_the_favourite_place_of_a_choice_is_its_majority(english):
    favourite = choice(lambda rng, _: int(rng.random() > 0.6) * int(rng.integers(1, 3)))
    found = leaks(english, HeadSpec("head", "choice", 3), favourite, sequences=3)["majority"]
    assert found["accuracy"] == found["chance"] > 0.5


def test_masked_tokens_are_only_reported(english):
    spec = HeadSpec("head", "vocabulary")
    found = leaks(english, spec, lambda rng, tokens: Targets(np.arange(2, 5), np.full(3, 700)))
    assert set(found) == {"unigram"}
    assert (found["unigram"]["accuracy"], found["unigram"]["leaks"]) == (1.0, False)


def test_the_spread_of_labels_fits_their_kind(english):
    one = np.zeros(1, np.int64)
    classes = view(english, 1, lambda rng, _: Targets(one, np.array([int(rng.random() < 0.25)])))
    found = label_balance(
        HeadSpec("head", "sequence_class", 3, class_names=("no", "yes", "never")), classes
    )
    assert list(found["classes"]) == ["no", "yes", "never"]
    assert list(found["classes"].values()) == pytest.approx([0.75, 0.25, 0.0], abs=0.05)
    assert found["majority"] == max(found["classes"].values())
    numbers = view(
        english, 1, lambda rng, _: Targets(one, rng.normal(2, 3, size=1).astype(np.float32))
    )
    found = label_balance(HeadSpec("head", "sequence_regression"), numbers)
    assert (found["mean"], found["deviation"]) == pytest.approx((2, 3), abs=0.3)
    assert list(found["quantiles"]) == ["0.05", "0.25", "0.5", "0.75", "0.95"]
    assert found["quantiles"]["0.5"] == pytest.approx(2, abs=0.3)
    masked = view(english, 1, lambda rng, _: Targets(np.arange(2, 5), np.array([7, 7, 9])))
    assert label_balance(HeadSpec("head", "vocabulary"), masked) == {
        "labels": 3 * ROWS,
        "distinct": 2,
        "majority": pytest.approx(2 / 3),
        "labels_per_sample": 3,
    }
