"""Supervised rows: the class or the number that people gave to a text or a pair of texts."""

import numpy as np

from ernie_cmtl.data.sequences import assemble
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import AnnotatedText, CorpusProfile, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TaskOptions


class SupervisedOptions(TaskOptions):
    """Which column holds the label; `table` names the labelled rows."""

    label: str = "label"
    """Column of the label. Classes make a classification, numbers a regression."""


class Supervised(PretrainTask):
    """One label a row; what the column holds says which head it is."""

    family = "semantic"
    citation = "MT-DNN (Liu et al. 2019), section 3"
    Options = SupervisedOptions
    options: SupervisedOptions

    def __init__(self, options: SupervisedOptions, profile: CorpusProfile) -> None:
        """Read what the column holds.

        Raises:
            UserError: The table has no text column or more than two, or no such column of classes
                or numbers.
        """
        super().__init__(options, profile)
        self.classes: tuple[str, ...] = ()
        """Class -> name; none where the labels are numbers."""
        self.texts = 1
        """Texts of a row."""
        if (table := profile.tables.get(options.table or "")) is None:
            return
        if len(table.texts) not in (1, 2):
            raise UserError(
                f"table {options.table!r} has texts {', '.join(table.texts)}; this task takes one "
                "or two"
            )
        if options.label not in (*table.classes, *table.numbers):
            there = ", ".join((*table.classes, *table.numbers)) or "none"
            raise UserError(
                f"table {options.table!r} has no class or number column {options.label!r}; there "
                f"are: {there}"
            )
        self.texts = len(table.texts)
        self.classes = table.classes.get(options.label, ())

    @property
    def minimum_sentences(self) -> int:
        """The texts of a row."""
        return self.texts

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One sequence head."""
        if self.classes:
            return (
                HeadSpec(
                    "label",
                    "sequence_class",
                    len(self.classes),
                    class_names=self.classes,
                    rare_classes=True,
                ),
            )
        return (HeadSpec("label", "sequence_regression"),)

    def index(self, layout: TaskCorpus, length: int) -> SampleIndex:
        """Every row that fits.

        Raises:
            UserError: No table is named.
        """
        if self.options.table is None:
            raise UserError("a supervised task reads a table: name it with table: NAME")
        starts, stops = layout.document_tokens[:-1], layout.document_tokens[1:]
        slots = stops - starts + self.texts + 1
        fits = slots <= length
        return SampleIndex(starts[fits], stops[fits], slots[fits])

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Join the texts and look up their label."""
        label = corpus.labels[self.options.label][corpus.document_at(text.start)]
        labels = np.array([label], dtype=np.int64 if self.classes else np.float32)
        segments = [text.sentence_range(number, number + 1) for number in range(self.texts)]
        return assemble(self, segments, {"label": Targets(np.zeros(1, dtype=np.int64), labels)})
