"""Scores against values worked out by hand."""

import math

import numpy as np
import pytest

from ernie_cmtl.finetuning.sets.scores import (
    answer_scores,
    class_scores,
    correlations,
    label_scores,
    ranking_scores,
)


def test_two_classes_are_judged_by_the_last_one() -> None:
    # 2 hits, 1 false alarm, 1 miss, 1 correct rejection.
    scores = class_scores([1, 1, 1, 0, 0], [1, 1, 0, 0, 1], 2)
    assert scores == pytest.approx(
        {"accuracy": 3 / 5, "f1": 2 * 2 / (2 * 2 + 1 + 1), "matthews": (2 * 1 - 1 * 1) / 6}
    )


def test_more_classes_are_judged_by_the_mean_of_their_f1() -> None:
    # Class 0: 1 hit, 1 false alarm; class 1: 1 miss; class 2: 1 hit.
    assert class_scores([0, 1, 2], [0, 0, 2], 3)["f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_correlations_of_values_and_of_ranks() -> None:
    scores = correlations([1.0, 2.0, 3.0], [1.0, 2.0, 6.0])
    # Deviations -1, 0, 1 and -2, -1, 3: covariance 5, norms sqrt(2) and sqrt(14).
    assert scores["pearson"] == pytest.approx(5 / math.sqrt(2 * 14))
    assert scores["spearman"] == pytest.approx(1)
    assert scores["mean_squared_error"] == pytest.approx(3)
    assert correlations([1.0, 2.0], [3.0, 3.0])["pearson"] == 0


def test_a_ranking_by_discounted_gain_and_first_relevant_place() -> None:
    scores = ranking_scores([(np.array([0, 2, 1]), np.array([3.0, 2.0, 1.0]))])
    assert scores["mrr"] == 1 / 2
    assert scores["ndcg"] == pytest.approx((2 / math.log2(3) + 1 / 2) / (2 + 1 / math.log2(3)))


def test_ndcg_at_10_does_not_see_the_eleventh_place() -> None:
    eleventh = (np.array([0] * 10 + [1]), -np.arange(11.0))
    assert ranking_scores([eleventh])["ndcg_at_10"] == 0
    assert ranking_scores([eleventh])["mrr"] == pytest.approx(1 / 11)


def test_equal_scores_put_the_relevant_candidate_last_and_queries_without_one_do_not_count() -> (
    None
):
    same = (np.array([1, 0, 0]), np.zeros(3))
    nothing = (np.zeros(2), np.array([1.0, 2.0]))
    assert ranking_scores([same, nothing])["mrr"] == pytest.approx(1 / 3)
    assert ranking_scores([nothing])["mrr"] == 0


def test_labels_are_judged_by_whole_spans() -> None:
    gold = [["B-X", "I-X", "O", "B-Y"]]
    scores = label_scores(gold, [["B-X", "O", "O", "B-Y"]])
    assert scores == pytest.approx(
        {"f1": 1 / 2, "precision": 1 / 2, "recall": 1 / 2, "accuracy": 3 / 4}
    )


def test_answers_of_squad_are_compared_as_words_without_articles_and_punctuation() -> None:
    assert answer_scores([["The Sun."]], ["sun"], "squad") == {"f1": 1.0, "exact_match": 1.0}
    # Two of three words of the guess, two of four of the answer.
    scores = answer_scores([["red big old house", "castle"]], ["big red door"], "squad")
    assert scores == pytest.approx({"f1": 2 * 2 / (3 + 4), "exact_match": 0})
    assert answer_scores([["sun"]], [""], "squad") == {"f1": 0.0, "exact_match": 0.0}


def test_answers_of_cmrc_are_compared_by_their_longest_common_run_of_characters() -> None:
    assert answer_scores([["《光荣》和ω-force"]], ["光荣和ω-force。"], "cmrc") == {
        "f1": 1.0,
        "exact_match": 1.0,
    }
    # Three characters in a row of the guess's five and the answer's six; the fourth in common
    # stands apart.
    scores = answer_scores([["一九九八年春"]], ["一九九七春"], "cmrc")
    assert scores == pytest.approx({"f1": 2 * 3 / (5 + 6), "exact_match": 0})


def test_the_mean_is_over_questions_and_each_takes_its_best_answer() -> None:
    scores = answer_scores([["wrong", "moon"], ["sun"]], ["moon", "rain"], "squad")
    assert scores == {"f1": 0.5, "exact_match": 0.5}
