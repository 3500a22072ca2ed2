"""The contract of a pretraining task: what it reads, what it predicts, and how one sample becomes
one Example.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.records import (
    MASKED_TOKEN,
    AnnotatedText,
    Array,
    CorpusProfile,
    Example,
    IntArray,
    Language,
)

Family = Literal["lexical", "syntactic", "semantic"]


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """One prediction of a task."""

    name: str
    """Key in `Example.targets`; in a run it becomes `<instance>/<name>`, but `masked_token` is one
    head for all tasks.
    """
    kind: str
    """A file of `head_kinds`, or a plug-in: what it reads, what its labels are, and its loss."""
    classes: int = 1
    """Number of classes, or of candidates of a choice; 1 for regression; not used by the vocabulary
    head.
    """
    weight: float = 1.0
    """Factor of this head's loss."""
    encoder_layer: int = -1
    """Layer of the encoder that it reads: -1 is the last; 1 is the first layer's output."""
    class_names: tuple[str, ...] = ()
    """Names of the classes for people, if they have any."""
    rare_classes: bool = False
    """May a corpus lack some of the classes, as where they are the words of a list."""
    shown_groups: tuple[str, ...] = ()
    """Class -> what the form of the input shows of it anyway (as the number of segments); held-out
    scores are then also given within each group, where only the rest counts.
    """


MASKED_TOKEN_HEAD = HeadSpec(MASKED_TOKEN, "vocabulary")


@dataclass(frozen=True)
class SampleIndex:
    """The samples of a task: passages of the corpus with an upper bound of the example's length."""

    starts: IntArray
    """First token; int64 [N]."""
    stops: IntArray
    """One past the last token, in the same document; int64 [N]."""
    slots: IntArray
    """Most tokens that the example can have, special tokens included; int64 [N]."""

    def __len__(self) -> int:
        return len(self.starts)


class TextLayout(Protocol):
    """Where documents and sentences lie in the text of a split."""

    @property
    def documents(self) -> int:
        """Number of documents."""

    @property
    def document_tokens(self) -> IntArray:
        """First token of each document and the end; int64 [documents + 1]."""

    @property
    def document_offsets(self) -> IntArray:
        """First sentence of each document and the end; int64 [documents + 1]."""

    @property
    def sentence_offsets(self) -> IntArray:
        """First token of each sentence and the end; int64 [sentences + 1]."""


class TaskCorpus(TextLayout, Protocol):
    """The read-only corpus that a task may look into beyond its own sample."""

    @property
    def labels(self) -> Mapping[str, Array]:
        """Column -> int64 [documents] classes, float64 [documents] numbers, or int32 [tokens] tags,
        -1 where none stands; running text has no column.
        """

    def document_layer(self, name: str, document: int) -> Array:
        """Return the row of a document in a layer that has one for each."""

    def layer_at(self, name: str, tokens: IntArray) -> Array:
        """Return the values of a layer at some tokens, which are sorted; [N]."""

    def document_at(self, token: int) -> int:
        """Return the number of the document that a token lies in."""

    def sources(self, starts: IntArray) -> Array:
        """Return the name of the source of each of some tokens; str [N]."""

    def passage(self, start: int, stop: int, layers: tuple[str, ...]) -> AnnotatedText:
        """Return tokens start:stop, which lie in one document, with their sentences and layers."""


class MaskingOptions(BaseModel):
    """Which tokens are masked, where any are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: float = Field(0.15, gt=0, lt=1)
    """Fraction of the tokens that is masked and predicted."""
    final_rate: float | None = Field(None, gt=0, lt=1)
    """Rate that is reached linearly over the task's first `samples` samples. none: constant."""
    samples: int = Field(100_000, ge=1)
    """Samples over which the rate moves to `final_rate`."""
    units: Literal["knowledge", "word", "token"] = "knowledge"
    """Units to mask. knowledge: spans and words. word: whole words. token: single tokens."""
    single_tokens: float = Field(0.0, ge=0, le=1)
    """Fraction of the samples in which each token is its own unit; drawn for each sample."""
    spans: tuple[str, ...] | None = None
    """Span layers whose spans are units. If spans overlap, the layer named first wins. none: all
    that the corpus has.
    """

    def rate_at(self, sample: int) -> float:
        """Return the rate of a sample, by its number."""
        final = self.rate if self.final_rate is None else self.final_rate
        return self.rate + (final - self.rate) * min(1.0, sample / self.samples)

    def mean_rate(self, first: float, end: float) -> float:
        """Return the mean of the rates from a sample to another one, by their numbers."""
        if end <= first:
            return self.rate_at(int(first))
        turn = min(max(self.samples, first), end)
        moving = (self.rate_at(int(first)) + self.rate_at(int(turn))) / 2
        return (moving * (turn - first) + self.rate_at(int(end)) * (end - turn)) / (end - first)


class TaskOptions(BaseModel):
    """Options that every task has; a task adds its own by subclassing."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    RENAMED: ClassVar[Mapping[str, str]] = MappingProxyType({"rows": "table"})
    """Option of an earlier version -> what it is now; no task has an option of an old name."""

    maximum_length: int | None = Field(None, ge=8)
    """Maximum tokens of an example. none: the row length."""
    table: str | None = None
    """Name of the labelled table in the corpus that gives the samples. none: the running text."""
    masked_tokens: bool = False
    """Also mask units of every example and predict them with the masked-token head."""
    masking: MaskingOptions = MaskingOptions()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse an option whose name is read as another in files of an earlier version."""
        for old in cls.RENAMED.keys() & cls.model_fields.keys():
            raise TypeError(f"{cls.__name__}: {old!r} is the old name of {cls.RENAMED[old]!r}")


class PretrainTask(ABC):
    """One way to make labelled examples out of annotated text."""

    family: ClassVar[Family]
    citation: ClassVar[str]
    """Where the objective comes from: paper and section."""
    languages: ClassVar[tuple[Language, ...]] = ("en", "zh")
    Options: ClassVar[type[TaskOptions]] = TaskOptions
    known_leaks: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Baseline of `tasks check` that beats chance by the nature of the task -> the reason."""

    def __init__(self, options: TaskOptions, profile: CorpusProfile) -> None:
        self.options = options
        self.profile = profile
        self.vocabulary = profile.vocabulary

    @property
    def layers(self) -> tuple[str, ...]:
        """Annotation layers that it reads, beyond tokens and sentences."""
        return ()

    @property
    def passage_layers(self) -> tuple[str, ...]:
        """Layers that every passage of an example needs: its own, and words and knowledge spans
        where tokens are masked.
        """
        masked = self.options.masked_tokens and self.options.masking.units != "token"
        return tuple(
            dict.fromkeys((*self.layers, *(("word_starts", *self.masked_spans) if masked else ())))
        )

    @property
    def document_layers(self) -> tuple[str, ...]:
        """Layers of whole documents that it looks into."""
        return ()

    @property
    def available_layers(self) -> tuple[str, ...]:
        """Layers that the text has which the samples come from."""
        table = self.profile.tables.get(self.options.table or "")
        return table.layers if table else self.profile.layers

    @property
    def masked_spans(self) -> tuple[str, ...]:
        """Span layers whose spans are masked as one unit."""
        masking = self.options.masking
        if masking.units != "knowledge":
            return ()
        if masking.spans is not None:
            return masking.spans
        return tuple(name for name in self.profile.spans if name in self.available_layers)

    @property
    def minimum_documents(self) -> int:
        """Fewest documents that a split needs; 2 for a task that takes text from another
        document.
        """
        return 1

    @property
    def minimum_sentences(self) -> int:
        """Fewest sentences that a sample needs; shorter documents are left to other tasks."""
        return 1

    @property
    @abstractmethod
    def heads(self) -> tuple[HeadSpec, ...]:
        """What it predicts."""

    @abstractmethod
    def index(self, layout: TaskCorpus, length: int) -> SampleIndex:
        """Cut the text into samples whose examples are at most `length` tokens long."""

    @abstractmethod
    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Make the example of one sample; all randomness comes from rng. None when it holds nothing
        to predict.
        """


def labelled_classes(
    profile: CorpusProfile, table: str, texts: int, column: str, option: str
) -> tuple[str, ...]:
    """Return the classes of a column of a table whose rows have a number of texts.

    Raises:
        UserError: The rows have more or fewer texts, or no such column of classes; `option` is the
            setting that names it.
    """
    labelled = profile.tables[table]
    if len(labelled.texts) != texts:
        there = ", ".join(labelled.texts) or "none"
        raise UserError(f"table {table!r} has texts {there}; this task takes {texts}")
    if column not in labelled.classes:
        there = choices(column, labelled.classes, "there are:")
        raise UserError(
            f"table {table!r} has no class column {column!r} ({option}=COLUMN); {there}"
        )
    return labelled.classes[column]
