"""What flows down the line: Document -> AnnotatedText -> Example -> Batch. Small frozen records;
nothing here computes much.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

Language = Literal["en", "zh"]
MASKED_TOKEN = "masked_token"
"""Name of the one vocabulary head, tied to the word embeddings and shared by every task."""


@dataclass(frozen=True, slots=True)
class Document:
    """A piece of raw text that belongs together."""

    identifier: str
    """Where it came from: `file#line` or `file`, with a part number where a long document was
    cut.
    """
    text: str
    size: int
    """Bytes of the text in UTF-8."""
    title: str = ""
    """Stands beside the text and is no part of it; empty where there is none."""
    repaired: bool = False
    """Something in it was no text and was replaced by U+FFFD."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A document that was read and not used, and why."""

    identifier: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What tasks need to know of the tokenizer."""

    size: int
    cls_id: int
    sep_id: int
    pad_id: int
    mask_id: int
    special: npt.NDArray[np.bool_]
    """Is the token one of [CLS], [SEP], [PAD], [MASK], [UNK] or one that was added as special, such
    as [URL]: it is never masked and never stands for a random token; bool [size].
    """
    ordinary_ids: IntArray
    """The tokens that may stand for a random token; int64 [size - specials]."""
    tokens: tuple[str, ...] = ()
    """Token id -> the token as the tokenizer writes it (`##ing` goes on with a word in WordPiece);
    empty where an id has none.
    """


@dataclass(frozen=True, slots=True)
class TableProfile:
    """What tasks need to know of a table of labelled rows."""

    texts: tuple[str, ...]
    """Text columns: the sentences of a row, in order."""
    classes: Mapping[str, tuple[str, ...]]
    """Class column -> names of its classes."""
    numbers: tuple[str, ...]
    """Number columns."""
    layers: tuple[str, ...]
    """Annotation layers that the texts have."""
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column of tags -> their names; a tag stands at the first token of its word."""


@dataclass(frozen=True, slots=True)
class CorpusProfile:
    """What tasks need to know of the corpus."""

    language: Language
    vocabulary: Vocabulary
    layers: tuple[str, ...]
    """Annotation layers that it has."""
    spans: tuple[str, ...]
    """Those of the layers that mark knowledge spans; where spans overlap, the first layer named
    wins.
    """
    layer_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Layer -> the options that it was made with."""
    tables: Mapping[str, TableProfile] = field(default_factory=dict)
    """Name -> a table of labelled rows beside the text."""


@dataclass(frozen=True, slots=True)
class AnnotatedText:
    """Tokens of a document, or of a passage of one, with their annotation layers."""

    token_ids: IntArray
    """int64 [T], no special tokens added."""
    sentence_offsets: IntArray
    """Sentence s is tokens offsets[s]:offsets[s+1]; int64 [S + 1], from 0 to T."""
    layers: Mapping[str, Array]
    """Layer name -> integers of a fixed width [T]: `word_starts` (1 = first token of a word),
    `letter_case` (0 none, 1 lower, 2 capital; at word starts), those that mark knowledge spans (1 =
    a span starts, 2 = it goes on, 0 = no span), and others.
    """
    start: int = 0
    """Place of the first token in the text of its split."""

    @property
    def sentences(self) -> int:
        """Number of sentences."""
        return len(self.sentence_offsets) - 1

    def part(self, start: int, stop: int) -> "AnnotatedText":
        """Return tokens start:stop of it, with their sentences and layers."""
        first, last = self.sentence_offsets.searchsorted((start + 1, stop))
        offsets = self.sentence_offsets[first - 1 : last + 1] - start
        offsets[0], offsets[-1] = 0, stop - start
        layers = {name: layer[start:stop] for name, layer in self.layers.items()}
        return AnnotatedText(self.token_ids[start:stop], offsets, layers, self.start + start)

    def sentence_range(self, first: int, last: int) -> "AnnotatedText":
        """Return its sentences first:last."""
        return self.part(int(self.sentence_offsets[first]), int(self.sentence_offsets[last]))


@dataclass(frozen=True, slots=True)
class Targets:
    """Labels of one head in one example."""

    positions: IntArray
    """Token positions that are read: int64 [N]; for a choice, the [CLS] places of the candidates:
    int64 [N, C].
    """
    labels: Array
    """int64 [N] classes or token ids; float32 [N] for regression."""


@dataclass(frozen=True, slots=True)
class Example:
    """What a task makes of one sample: one sequence, or a few that stand in one row together."""

    token_ids: IntArray
    """int64 [T], special tokens included; the sequences one after another."""
    token_type_ids: IntArray
    """int64 [T], number of the segment inside its sequence."""
    targets: Mapping[str, Targets]
    """Head name -> labels."""
    sequence_lengths: tuple[int, ...] = ()
    """Lengths of the sequences, summing to T; empty means a single one."""
    unit_starts: npt.NDArray[np.uint8] | None = None
    """uint8 [T], nonzero where a unit that is masked as one starts; None: the words of the text
    were not asked for.
    """


@dataclass(frozen=True, slots=True)
class BatchTargets:
    """Labels of one head in a batch; an idle head has one row of task -1 that counts nothing."""

    positions: IntArray
    """Places in the flattened batch: int64 [N] or [N, C]."""
    labels: Array
    """As in `Targets`."""
    tasks: IntArray
    """Which task instance each label belongs to: int64 [N], -1 for an idle head's dummy."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One group: M packed rows of L tokens, what a worker runs forward and backward at once."""

    token_ids: IntArray
    """int64 [M, L]; the tail of a row is [PAD]."""
    token_type_ids: IntArray
    """int64 [M, L]."""
    task_type_ids: IntArray
    """int64 [M, L], row of the task embedding."""
    position_ids: IntArray
    """int64 [M, L], counted from 0 in each sequence."""
    sequence_starts: IntArray
    """Start of each sequence in the flattened batch: int64 [S]."""
    sequence_lengths: IntArray
    """int64 [S]; sequences do not see each other."""
    targets: Mapping[str, BatchTargets]
    """Head name -> labels; every head of the run is there."""
    sequence_tasks: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Task instance of each sequence: int64 [S]; empty where nobody asks."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """How far a run has come in its data: all that is needed to compute any later step, and the
    same on every worker.
    """

    step: int
    """Steps completed."""
    samples: tuple[int, ...]
    """Samples taken from each stream so far; a stream is a task instance and a length that its
    samples are cut to.
    """
    tokens: tuple[int, ...]
    """Slot tokens taken by each task so far (upper bounds of the sample lengths)."""
    planned: tuple[float, ...]
    """Slot tokens that the stage table granted each task so far."""
    iterations: tuple[float, ...]
    """Steps that each task received so far: the sum of its parts of the slot tokens of every step;
    in one-task mode whole.
    """


@dataclass(frozen=True, slots=True)
class StepData:
    """One optimizer step as one worker sees it."""

    step: int
    """Number of the step, from 0."""
    shares: tuple[float, ...]
    """Part of the step's tokens that each task instance really has, summing to 1: in the mean over
    steps the planned share.
    """
    groups: tuple[Batch, ...]
    """The groups of this worker."""
    ledger: Ledger
    """The ledger after this step."""
    real_tokens: int
    """Tokens that are not padding in this worker's groups."""
    slots: int
    """Token places in this worker's groups."""
