"""What a cheap baseline may see of an example: lengths, edges, places, tokens; never what the task
asks to understand.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.records import Array, Example, FloatArray, IntArray, Targets, Vocabulary
from ernie_cmtl.task import HeadSpec
from ernie_cmtl.task_checks.baselines import binned, fit_and_predict, hashed_counts, ridge_predict
from ernie_cmtl.task_checks.text_view import SENTENCE_END, Sample, TextView

_MOST_SEGMENTS = 8
_ABSENT = -1


@dataclass(frozen=True)
class SequenceRows:
    """A row for each sequence that a label stands at; for a choice, a row for each candidate, label
    after label.
    """

    view: TextView
    samples: IntArray
    """Place of the row's sample in the view; int64 [R]."""
    segments: Sequence[Sequence[IntArray]]
    """Tokens of each segment, special ones taken off."""
    candidates: int = 1

    @cached_property
    def lengths(self) -> IntArray:
        """Tokens of each segment; int64 [R, 8], -1 where there is none."""
        return self._table(len)

    def _table(self, value: Callable[[IntArray], int]) -> IntArray:
        found = np.full((len(self.segments), _MOST_SEGMENTS), _ABSENT, dtype=np.int64)
        for row, segments in enumerate(self.segments):
            for place, segment in enumerate(segments[:_MOST_SEGMENTS]):
                found[row, place] = value(segment)
        return found

    @property
    def total(self) -> IntArray:
        """Tokens of all segments; [R, 1]."""
        return np.array([[sum(map(len, segments))] for segments in self.segments], dtype=np.int64)

    @property
    def counts(self) -> IntArray:
        """Number of segments; [R, 1]."""
        return np.array([[len(segments)] for segments in self.segments], dtype=np.int64)

    @property
    def segment_lengths(self) -> IntArray:
        """The length of each segment and by how much it is longer than the next; [R, 15]."""
        return np.concatenate([self.lengths, self.lengths[:, :-1] - self.lengths[:, 1:]], axis=1)

    @cached_property
    def edges(self) -> IntArray:
        """First and last token of each segment; [R, 16]."""
        firsts = self._table(lambda segment: int(segment[0]) if len(segment) else _ABSENT)
        lasts = self._table(lambda segment: int(segment[-1]) if len(segment) else _ABSENT)
        return np.concatenate([firsts, lasts], axis=1)

    @cached_property
    def edge_classes(self) -> IntArray:
        """The classes of the first and last tokens; [R, 16]."""
        return np.where(self.edges == _ABSENT, _ABSENT, self.view.classes[self.edges])

    @property
    def truncation(self) -> IntArray:
        """Does each segment end like a sentence, and is the passage one of whole sentences; [R,
        10].
        """
        lasts = self.edge_classes[:, _MOST_SEGMENTS:]
        ended = np.where(lasts == _ABSENT, _ABSENT, lasts == SENTENCE_END)
        return np.concatenate([ended, self.view.cut_sentences[self.samples]], axis=1)

    @property
    def passage_position(self) -> FloatArray:
        """Where the passage lies in its document; [R, 3]."""
        return self.view.passage_places[self.samples]

    @property
    def bag_of_words(self) -> Array:
        """Hashed counts of the tokens; float32 [R, 1024]."""
        return hashed_counts(
            [
                np.concatenate(segments) if segments else np.zeros(0, np.int64)
                for segments in self.segments
            ]
        )

    def ranked(self, numbers: Array) -> Array:
        """Add to each number how many candidates of the same choice have less."""
        if self.candidates == 1:
            return numbers
        sets = numbers.reshape(-1, self.candidates, numbers.shape[1])
        ranks = (sets[:, :, None, :] > sets[:, None, :, :]).sum(axis=2)
        return np.concatenate([numbers, ranks.reshape(numbers.shape)], axis=1)


@dataclass(frozen=True)
class TokenRows:
    """A row for each labelled token."""

    tokens: IntArray
    """The token with the one before and the one after it; int64 [R, 3]."""
    positions: IntArray
    """Place in its sequence; int64 [R, 1]."""


def sequence_bounds(example: Example) -> tuple[IntArray, IntArray]:
    """Return where each sequence of an example starts and ends."""
    ends = np.cumsum(example.sequence_lengths or (len(example.token_ids),))
    return np.append(0, ends[:-1]), ends


def sequence_rows(view: TextView, spec: HeadSpec) -> SequenceRows:
    """Collect the sequences that the labels of a head stand at."""
    rows: list[int] = []
    segments: list[list[IntArray]] = []
    for number, _, example, targets in _labelled(view, spec):
        starts, ends = sequence_bounds(example)
        for place in np.searchsorted(ends, targets.positions.ravel(), side="right").tolist():
            rows.append(number)
            segments.append(
                _segments(example.token_ids[starts[place] : ends[place]], view.vocabulary)
            )
    return SequenceRows(
        view, np.array(rows, dtype=np.int64), segments, head_kind(spec.kind).candidates(spec) or 1
    )


def _labelled(view: TextView, spec: HeadSpec) -> Iterator[tuple[int, Sample, Example, Targets]]:
    for number, sample in enumerate(view.samples):
        if (targets := sample.example.targets.get(spec.name)) and len(targets.labels):
            yield number, sample, sample.example, targets


def _segments(tokens: IntArray, vocabulary: Vocabulary) -> list[IntArray]:
    separators = np.flatnonzero(tokens == vocabulary.sep_id)
    starts = np.append(1, separators[:-1] + 1)
    return [
        tokens[start:stop] for start, stop in zip(starts.tolist(), separators.tolist(), strict=True)
    ]


def token_rows(view: TextView, spec: HeadSpec) -> TokenRows:
    """Collect the tokens that the labels of a head stand at."""
    tokens, positions = [np.zeros((0, 3), dtype=np.int64)], [np.zeros((0, 1), dtype=np.int64)]
    for _, _, example, targets in _labelled(view, spec):
        starts, ends = sequence_bounds(example)
        ids, at = example.token_ids, targets.positions
        tokens.append(
            np.stack(
                [ids[at], ids[np.maximum(at - 1, 0)], ids[np.minimum(at + 1, len(ids) - 1)]], axis=1
            )
        )
        positions.append((at - starts[np.searchsorted(ends, at, side="right")])[:, None])
    return TokenRows(np.concatenate(tokens), np.concatenate(positions))


def labels_of(view: TextView, spec: HeadSpec) -> tuple[Array, IntArray]:
    """Return the labels of a head, and for each the first token of its passage; [N] and
    int64 [N].
    """
    labels = [targets.labels for _, _, _, targets in _labelled(view, spec)]
    passages = [
        np.full(len(targets.labels), sample.start)
        for _, sample, _, targets in _labelled(view, spec)
    ]
    if not labels:
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    return np.concatenate(labels), np.concatenate(passages)


Predictions = Mapping[str, Callable[[FloatArray], FloatArray]]
"""Baseline -> a function of the training targets [N, C] that fits it and predicts the held-out rows
[M, C].
"""


def _tables(train: IntArray, heldout: IntArray) -> Callable[[FloatArray], FloatArray]:
    return lambda targets: fit_and_predict(train, targets, heldout)


def token_baselines(train: TokenRows, heldout: TokenRows) -> Predictions:
    """Return the baselines of a head that labels tokens."""
    none = slice(0, 0)
    return {
        "majority": _tables(train.tokens[:, none], heldout.tokens[:, none]),
        "token_identity": _tables(train.tokens[:, :1], heldout.tokens[:, :1]),
        "neighbours": _tables(train.tokens[:, 1:], heldout.tokens[:, 1:]),
        "token_position": _tables(*binned(train.positions, heldout.positions)),
    }


def sequence_baselines(train: SequenceRows, heldout: SequenceRows) -> Predictions:
    """Return the baselines of a head that labels sequences or chooses among them."""

    def numbers(read: Callable[[SequenceRows], Array]) -> Callable[[FloatArray], FloatArray]:
        return _tables(*binned(train.ranked(read(train)), heldout.ranked(read(heldout))))

    def keys(read: Callable[[SequenceRows], IntArray]) -> Callable[[FloatArray], FloatArray]:
        return _tables(read(train), read(heldout))

    return {
        # Of a choice it is the place of the candidate that is right most often.
        "majority": keys(lambda rows: (np.arange(len(rows.samples)) % rows.candidates)[:, None]),
        "length": numbers(lambda rows: rows.total),
        "segment_lengths": numbers(lambda rows: rows.segment_lengths),
        "segments": keys(lambda rows: rows.counts),
        "truncation": keys(lambda rows: rows.truncation),
        "passage_position": numbers(lambda rows: rows.passage_position),
        "edge_tokens": keys(lambda rows: rows.edges),
        "edge_classes": keys(lambda rows: rows.edge_classes),
        "bag_of_words": lambda targets: ridge_predict(
            train.bag_of_words, targets, heldout.bag_of_words
        ),
    }


BASELINES = (
    *("majority", "length", "segment_lengths", "segments", "truncation", "passage_position"),
    *(
        "edge_tokens",
        "edge_classes",
        "bag_of_words",
        "token_identity",
        "neighbours",
        "token_position",
    ),
)
"""All that a task may declare as known to leak."""
