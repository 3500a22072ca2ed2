"""Supervised tokens: the tag that people gave to each word of a text."""

from types import MappingProxyType

import numpy as np

from ernie_cmtl.data.sequences import assemble
from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.records import AnnotatedText, CorpusProfile, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TaskOptions

_SPECIALS = 2


class SupervisedTokensOptions(TaskOptions):
    """Which column holds the tags; `table` names the labelled rows."""

    label: str = "tags"
    """Column of tags, one tag per word."""


class SupervisedTokens(PretrainTask):
    """A class at the first token of each word; the other tokens of a word have no label."""

    family = "lexical"
    citation = "BERT (Devlin et al. 2019), section 5.3, the first piece of each word"
    Options = SupervisedTokensOptions
    options: SupervisedTokensOptions
    known_leaks = MappingProxyType(
        {
            "token_identity": "a word has a tag that it takes most often",
            "neighbours": "the words around a word tell much of its tag",
            "token_position": "the first words of a sentence have other tags than the later ones",
        }
    )

    def __init__(self, options: SupervisedTokensOptions, profile: CorpusProfile) -> None:
        """Read the names of the tags.

        Raises:
            UserError: The table has no such column of tags.
        """
        super().__init__(options, profile)
        self.tags: tuple[str, ...] = ()
        """Tag -> name."""
        if (table := profile.tables.get(options.table or "")) is None:
            return
        if options.label not in table.tags:
            columns = (*table.texts, *table.classes, *table.numbers, *table.tags)
            raise UserError(
                f"table {options.table!r} has no column of tags {options.label!r} (label=COLUMN); "
                f"{choices(options.label, table.tags, 'its columns of tags are:')}; all its "
                f"columns: {', '.join(columns)}"
            )
        self.tags = table.tags[options.label]

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One token head."""
        tags = self.tags
        return (
            HeadSpec("tag", "token_class", len(tags) or 1, class_names=tags, rare_classes=True),
        )

    def index(self, layout: TaskCorpus, length: int) -> SampleIndex:
        """Every row that fits.

        Raises:
            UserError: No table is named.
        """
        if self.options.table is None:
            raise UserError("a task of tagged words reads a table: name it with table: NAME")
        starts, stops = layout.document_tokens[:-1], layout.document_tokens[1:]
        fits = stops - starts + _SPECIALS <= length
        return SampleIndex(starts[fits], stops[fits], (stops - starts + _SPECIALS)[fits])

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Look up the tags of the words."""
        stop = text.start + len(text.token_ids)
        tags = corpus.labels[self.options.label][text.start : stop].astype(np.int64)
        places = np.flatnonzero(tags >= 0)
        if not len(places):
            return None
        return assemble(self, [text], {"tag": Targets(places + 1, tags[places])})
