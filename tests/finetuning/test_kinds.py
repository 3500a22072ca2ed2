"""What each kind makes of rows, against results worked out by hand."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kinds import KINDS
from ernie_cmtl.finetuning.kinds.kind import Kind
from ernie_cmtl.finetuning.kinds.ranking import deal_out, listwise_loss
from ernie_cmtl.finetuning.kinds.span import Question, Window, answer_tokens, best_span
from ernie_cmtl.finetuning.kinds.tokens import first_tokens
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.finetuning.sets.rows import LabelledRow
from tests.support.finetuning import SMALL

PASSAGE = "the sunny day came the moon of the night"


def row(
    label: Any,
    text: Any = "good day",
    pair: Any = None,
    group: Any = None,
    place: str = "train.tsv, line 2",
) -> LabelledRow:
    return LabelledRow(place, text, pair, label, group)


def make(kind: str, rows: list[LabelledRow], **settings: Any) -> Kind:
    columns = {"text": "text", "text_pair": "pair", "label": "label"}
    recipe = Recipe.model_validate(SMALL | {"kind": kind, "columns": columns} | settings)
    return KINDS[recipe.kind](recipe, rows)


def test_classes_are_those_of_the_training_rows_and_others_are_refused_with_their_row() -> None:
    kind = make("classification", [row("b"), row("a"), row("b")])
    assert kind.labels == ("a", "b")
    assert [example.label for example in kind.examples([row("b"), row("a")])] == [1, 0]
    with pytest.raises(UserError, match=r"dev\.tsv, line 7: label 'c' is none of a, b"):
        kind.examples([row("a"), row("c", place="dev.tsv, line 7")])
    with pytest.raises(UserError, match="at least two different classes"):
        make("classification", [row("a")])


def test_the_recipe_orders_the_classes_and_numbers_are_names() -> None:
    kind = make("classification", [row(1), row(0.0)], labels=["1", "0"])
    assert [example.label for example in kind.examples([row(1), row("0"), row(0.0)])] == [0, 1, 1]


@pytest.mark.parametrize("label", ["high", "nan", "inf", ""])
def test_a_score_that_is_no_number_is_refused_with_its_row(label: str) -> None:
    with pytest.raises(UserError, match=rf"line 2: label '{label}' is no number"):
        make("regression", [row("1")]).examples([row(label)])


def test_a_query_with_one_candidate_is_refused_with_its_row() -> None:
    rows = [
        row("1", "who", "sun", "q1"),
        row("0", "who", "moon", "q1"),
        row("1", "who", "rain", "q2", "train.tsv, line 9"),
    ]
    with pytest.raises(UserError, match=r"line 9: query 'q2' has one candidate"):
        make("ranking", rows).examples(rows)
    # By its text, all three are candidates of one query.
    assert (
        len(
            make("ranking", rows).examples(
                [LabelledRow(r.place, r.text, r.text_pair, r.label, None) for r in rows]
            )
        )
        == 1
    )


def test_queries_need_grades_that_teach_something(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [row("0", "who", "sun"), row("0", "who", "moon")]
    kind = make("ranking", rows)
    with pytest.raises(UserError, match="no training query has a relevant candidate"):
        kind.encode(kind.examples(rows), tokenizer, 16, training=True)
    with pytest.raises(UserError, match="grade '-1' is below 0"):
        kind.examples([row("-1"), row("1")])


def test_candidates_are_dealt_out_with_every_grade_in_each_list() -> None:
    grades = [0, 1, 0, 2, 0, 0, 2, 1, 0]
    lists = deal_out(grades, 5)
    assert sorted(itertools.chain(*lists)) == list(range(9))
    assert [sorted(grades[place] for place in places) for places in lists] == [
        [0, 0, 0, 1, 2],
        [0, 0, 1, 2],
    ]
    assert deal_out([1, 1], 5) == deal_out([0, 0, 0], 2) == []


def test_the_loss_of_lists_is_their_mean_cross_entropy() -> None:
    scores, grades = [1.0, 0.0, 2.0, -1.0, 0.5], [1.0, 0.0, 2.0, 1.0, 0.0]
    first = -1.0 + math.log(math.exp(1) + math.exp(0))
    whole = math.log(math.exp(2) + math.exp(-1) + math.exp(0.5))
    second = -(2 / 3) * (2.0 - whole) - (1 / 3) * (-1.0 - whole)
    loss = listwise_loss(torch.tensor(scores), torch.tensor(grades), torch.tensor([0, 0, 1, 1, 1]))
    assert float(loss) == pytest.approx((first + second) / 2, abs=1e-6)


def test_lists_become_one_batch_of_candidates(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [row(str(n % 2), "who", "sun moon" if n else "sun", f"q{n // 3}") for n in range(6)]
    kind = make("ranking", rows)
    batch = kind.collator(tokenizer)(
        kind.encode(kind.examples(rows), tokenizer, 16, training=True).inputs
    )
    assert batch["lists"].tolist() == [0, 0, 0, 1, 1, 1]
    assert batch["labels"].tolist() == [1, 0, 0, 1, 1, 0]
    assert batch["input_ids"].shape == (6, 6)


def test_each_word_has_the_label_of_its_first_token(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [row(["B-X", "O", "B-Y"], ["sunny", "john", "day"])]
    kind = make("tokens", rows, labels=["O", "B-X", "B-Y"])
    encoded = kind.encode(kind.examples(rows), tokenizer, 16, training=True)
    # [CLS] sun ##ny john day [SEP]
    assert encoded.inputs[0]["labels"] == [-100, 1, -100, 0, 2, -100]
    words, tokens = encoded.where[0]
    assert (words.tolist(), tokens.tolist()) == ([0, 1, 2], [1, 3, 4])


def test_words_that_are_cut_off_count_as_outside(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [row(["B-X", "B-X", "B-X"], ["sun", "moon", "rain"])]
    kind = make("tokens", rows, labels=["O", "B-X"])
    examples = kind.examples(rows)
    # [CLS] sun moon [SEP]: the third word has no token.
    encoded = kind.encode(examples, tokenizer, 4, training=False)
    scores = kind.scores(examples, encoded, [np.array([[0, 9], [0, 9], [0, 9], [0, 9]])])
    assert (scores["precision"], scores["recall"]) == (1, pytest.approx(2 / 3))


def test_first_tokens_pass_over_marks_and_words_without_tokens() -> None:
    words, tokens = first_tokens([None, 0, 0, 2, 3, 3, None])
    assert (words.tolist(), tokens.tolist()) == ([0, 2, 3], [1, 3, 4])


@pytest.mark.parametrize(("words", "labels"), [(["sun"], ["O", "O"]), ([], []), ("sun moon", "O")])
def test_words_and_labels_must_be_as_many(words: Any, labels: Any) -> None:
    kind = make("tokens", [row("O B-X")])
    with pytest.raises(UserError, match=r"line 2: \d words and \d labels"):
        kind.examples([row(labels, words)])


def test_an_answer_is_found_where_it_says_or_where_it_stands_first() -> None:
    kind = make("span", [])
    answers = [{"text": "the", "start": 19}, {"text": "moon", "start": 23}]
    said, unsaid = kind.examples(
        [row(a, "who?", PASSAGE) for a in (answers, {"text": ["the"], "answer_start": [3]})]
    )
    assert (said.start, unsaid.start) == (19, 0)
    assert said.answers == ["the", "moon"]
    with pytest.raises(UserError, match="line 2: the answer 'rain' does not stand in the passage"):
        kind.examples([row([{"text": "rain"}], "who?", PASSAGE)])
    with pytest.raises(UserError, match="line 2: the question has no answer"):
        kind.examples([row([], "who?", PASSAGE)])


def test_windows_cover_the_passage_and_the_answer_is_labelled_where_it_is_whole(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    kind = make("span", [], options={"stride": 2})
    answer = "moon of"
    examples = kind.examples([row([{"text": answer}], "who came?", PASSAGE)])
    encoded = kind.encode(examples, tokenizer, 11, training=True)
    seen: set[int] = set()
    labelled = 0
    for one, window in zip(encoded.inputs, encoded.where, strict=True):
        for first, end in window.offsets[window.offsets[:, 0] >= 0]:
            seen |= set(range(first, end))
        tokens = tokenizer.convert_ids_to_tokens(one["input_ids"])
        if one["start_positions"]:
            labelled += 1
            assert tokens[one["start_positions"] : one["end_positions"] + 1] == ["moon", "of"]
        else:
            assert not {"moon", "of"} <= set(tokens[tokens.index("[SEP]") :])
    assert {PASSAGE[place] for place in range(len(PASSAGE)) if place not in seen} == {" "}
    assert 0 < labelled < len(encoded.inputs)


def test_an_answer_inside_of_a_token_takes_the_token() -> None:
    window = Window(0, np.array([[-1, -1], [0, 3], [4, 9]], dtype=np.int32))
    assert answer_tokens(window, Question("q", "the sunny", ["sun"], 4)) == (2, 2)
    assert answer_tokens(window, Question("q", "the sunny day", ["sunny day"], 4)) == (0, 0)


def test_the_best_span_is_the_best_of_all_that_are_allowed() -> None:
    values = np.random.default_rng(3).normal(size=(9, 2))
    offsets = np.array(
        [[-1, -1]] * 3 + [[n * 2, n * 2 + 1] for n in range(5)] + [[-1, -1]], dtype=np.int32
    )
    allowed = [(s, e) for s in range(3, 8) for e in range(s, min(s + 2, 8))]
    first, last = max(allowed, key=lambda span: values[span[0], 0] + values[span[1], 1])
    score, start, end = best_span(values, offsets, 2)
    assert score == pytest.approx(values[first, 0] + values[last, 1])
    assert (start, end) == (offsets[first, 0], offsets[last, 1])


def test_a_metric_or_an_option_of_another_kind_is_refused() -> None:
    with pytest.raises(
        UserError,
        match="metric 'mrr' is none of the kind classification; accepted: accuracy, f1, matthews",
    ):
        make("classification", [row("a"), row("b")], metric="mrr")
    with pytest.raises(UserError, match="options of the kind ranking: unknown key 'stride'"):
        make("ranking", [], options={"stride": 1})


def test_a_text_that_is_none_is_refused_with_its_row() -> None:
    with pytest.raises(UserError, match="line 2: 7 is no text"):
        make("regression", []).examples([row("1", 7)])
