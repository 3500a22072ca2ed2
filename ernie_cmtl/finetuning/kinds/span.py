"""A span of a passage that answers a question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, Field
from transformers import AutoModelForQuestionAnswering, PreTrainedTokenizerBase

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kinds.kind import Encoded, Kind, unpacked
from ernie_cmtl.finetuning.sets.recipe import STRICT
from ernie_cmtl.finetuning.sets.rows import LabelledRow
from ernie_cmtl.finetuning.sets.scores import Match, answer_scores
from ernie_cmtl.records import Array, IntArray


class SpanOptions(BaseModel):
    """How passages are cut and answers compared."""

    model_config = STRICT

    match: Match = "squad"
    """How answers are compared. squad: words without articles. cmrc: Chinese characters, with the
    longest common run for F1.
    """
    stride: int = Field(128, ge=0)
    """Tokens that two windows of a long passage share; at most a quarter of a window."""
    answer_tokens: int = Field(30, ge=1)
    """Maximum tokens of an answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its passage, its answers, and where the first of them stands in the passage."""

    question: str
    passage: str
    answers: list[str]
    start: int


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a passage."""

    question: int
    """Number of the example."""
    offsets: IntArray
    """[tokens, 2] characters of the passage; -1 for tokens that are not of the passage."""


class Span(Kind):
    """Cross entropy of first and last token; a window without the answer points at its first
    token.
    """

    head = AutoModelForQuestionAnswering
    metrics = ("f1", "exact_match")
    Options = SpanOptions
    options: SpanOptions
    outputs = 2

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the two numbers that a token gets."""
        return ("start", "end")

    def examples(self, rows: Sequence[LabelledRow]) -> list[Question]:
        """Return questions whose first answer stands in the passage."""
        return [_question(row) for row in rows]

    def encode(
        self,
        examples: Sequence[Question],
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        training: bool,
    ) -> Encoded:
        """Tokenize questions with windows of their passages."""
        batch = tokenizer(
            _shortened([example.question for example in examples], tokenizer, length // 2),
            [example.passage for example in examples],
            truncation="only_second",
            max_length=length,
            stride=min(self.options.stride, length // 4),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        offsets, numbers = batch.pop("offset_mapping"), batch.pop("overflow_to_sample_mapping")
        windows = []
        for place, (number, pairs) in enumerate(zip(numbers, offsets, strict=True)):
            inside = np.array([part == 1 for part in batch.sequence_ids(place)])
            windows.append(
                Window(number, np.where(inside[:, None], np.array(pairs), -1).astype(np.int32))
            )
        inputs = unpacked(batch)
        if training:
            for one, window in zip(inputs, windows, strict=True):
                one["start_positions"], one["end_positions"] = answer_tokens(
                    window, examples[window.question]
                )
        return Encoded(inputs, windows)

    def scores(
        self, examples: Sequence[Question], encoded: Encoded, predicted: Sequence[Array]
    ) -> dict[str, float]:
        """Compare the best span over all windows of each passage."""
        return answer_scores(
            [example.answers for example in examples],
            [answer["answer"] for answer in self.answers(examples, encoded, predicted)],
            self.options.match,
        )

    def unlabelled(self, rows: Sequence[LabelledRow]) -> list[Question]:
        """Return the question and the passage of each row."""
        return [
            Question(row.sentence(row.text), row.sentence(row.text_pair), [], 0) for row in rows
        ]

    def answers(
        self, examples: Sequence[Question], encoded: Encoded, predicted: Sequence[Array]
    ) -> list[dict[str, Any]]:
        """Return the best answer over all windows of each passage, with its first character, its
        end and its score; the answer to a passage without tokens is empty and has no score.
        """
        best: list[tuple[float, int, int]] = [(-np.inf, 0, 0)] * len(examples)
        for window, values in zip(encoded.where, predicted, strict=True):
            found = best_span(values, window.offsets, self.options.answer_tokens)
            if found[0] > best[window.question][0]:
                best[window.question] = found
        return [
            {
                "answer": example.passage[first:end],
                "start": first,
                "end": end,
                "score": score if np.isfinite(score) else None,
            }
            for example, (score, first, end) in zip(examples, best, strict=True)
        ]


def answer_tokens(window: Window, question: Question) -> tuple[int, int]:
    """Return the first and last token of the answer in a window; 0, 0 if it is not whole there."""
    first, end = question.start, question.start + len(question.answers[0])
    starts, ends = window.offsets.T
    inside = np.flatnonzero((starts >= 0) & (ends > first) & (starts < end))
    if not len(inside) or starts[inside[0]] > first or ends[inside[-1]] < end:
        return 0, 0
    return int(inside[0]), int(inside[-1])


def best_span(values: Array, offsets: IntArray, longest: int) -> tuple[float, int, int]:
    """Return score, first character and end of the likeliest span of at most so many tokens of the
    passage.

    values: float [tokens, 2], for being the first and the last token.
    """
    places = np.flatnonzero(offsets[:, 0] >= 0)
    if not len(places):
        return -np.inf, 0, 0
    length = np.arange(len(places))[None, :] - np.arange(len(places))[:, None]
    scores = np.where(
        (length >= 0) & (length < longest),
        values[places, 0][:, None] + values[places, 1][None, :],
        -np.inf,
    )
    first, last = np.unravel_index(scores.argmax(), scores.shape)
    return float(scores[first, last]), int(offsets[places[first], 0]), int(offsets[places[last], 1])


def _shortened(questions: list[str], tokenizer: PreTrainedTokenizerBase, most: int) -> list[str]:
    """Return questions of at most so many tokens: the tokenizer cuts only one of two texts."""
    batch = tokenizer(questions, truncation=True, max_length=most, return_offsets_mapping=True)
    return [
        text[: max(end for _, end in offsets)]
        for text, offsets in zip(questions, batch["offset_mapping"], strict=True)
    ]


def _question(row: LabelledRow) -> Question:
    question, passage = row.sentence(row.text), row.sentence(row.text_pair)
    answers = _answers(row)
    text, start = answers[0]
    if passage[start : start + len(text)] != text or start < 0:
        start = passage.find(text)
    if start < 0:
        raise UserError(f"{row.place}: the answer {text!r} does not stand in the passage")
    return Question(question, passage, [answer for answer, _ in answers], start)


def _answers(row: LabelledRow) -> list[tuple[str, int]]:
    """Return texts and places of the answers: a list of objects, or an object of lists; a place may
    be missing.
    """
    found: Any = row.label
    try:
        if isinstance(found, dict):
            found = [
                {"text": text, "start": start}
                for text, start in zip(found["text"], found["answer_start"], strict=True)
            ]
        answers = [
            (row.sentence(one["text"]), int(one.get("answer_start", one.get("start", -1))))
            for one in found
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{row.place}: {row.label!r} are no answers with text and answer_start"
        ) from error
    if not answers or not all(text for text, _ in answers):
        raise UserError(f"{row.place}: the question has no answer")
    return answers
