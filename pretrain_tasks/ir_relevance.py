"""Information retrieval: is a passage the one that a query asks for, one that a search finds, or neither?"""

from typing import Literal

import numpy as np
from pydantic import Field

from ernie_cmtl.data.assemble import assemble
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import AnnotatedText, CorpusProfile, Example, IntArray, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TaskOptions, TextLayout, labelled_classes

_FOUND, _TITLES = "retrieved", "titles"
_SPECIALS = 3
_CLASSES = ("strong", "weak", "irrelevant")
_SHORTEST = 4
"""Fewest tokens of a passage."""
_DRAWS = 16
"""Attempts to find a document that the search did not find."""


class IrRelevanceOptions(TaskOptions):
    """How long query and passage are, and what the columns of a log say."""

    query_tokens: int = Field(32, ge=4)
    """Most tokens of a query."""
    passage_tokens: int = Field(96, ge=8)
    """Most tokens of a passage."""
    grade: str = "grade"
    """Column of the grade, where the pairs are labelled rows (`rows`); not read where the rows have `shown` and `clicked`."""
    grades: dict[str, Literal["strong", "weak", "irrelevant"]] = Field({"2": "strong", "1": "weak", "0": "irrelevant"})
    """What each grade is called in the paper's three classes."""


class IrRelevance(PretrainTask):
    """Three classes a pair: strong, weak, irrelevant; mined from running text, or read from a log."""

    family = "semantic"
    source = "ERNIE 2.0, section 4.2.3"
    Options = IrRelevanceOptions
    options: IrRelevanceOptions

    def __init__(self, options: IrRelevanceOptions, profile: CorpusProfile) -> None:
        """Read what the columns of a log say.

        Raises:
            UserError: The rows have other texts than two, no column of grades, or a grade that the options do not name.
        """
        super().__init__(options, profile)
        if options.rows is None or options.rows not in profile.tables:
            return
        is_log = {"shown", "clicked"} <= profile.tables[options.rows].classes.keys()
        column = "clicked" if is_log else options.grade
        classes = labelled_classes(profile, options.rows, 2, column, "grade")
        unknown = [grade for grade in classes if not is_log and grade not in options.grades]
        if unknown:
            known = ", ".join(options.grades)
            raise UserError(f"rows {options.rows!r} have grades {', '.join(unknown)} that grades does not name; it names {known}")

    @property
    def document_layers(self) -> tuple[str, ...]:
        """What a search found, and titles where the corpus has them; labelled rows have their own queries and grades."""
        if self.options.rows:
            return ()
        return (_FOUND, _TITLES) if _TITLES in self.profile.layers else (_FOUND,)

    @property
    def minimum_sentences(self) -> int:
        """The query and what it asks for."""
        return 2

    @property
    def minimum_documents(self) -> int:
        """One that is asked for, one that is found, one that is not."""
        return 1 if self.options.rows else 3

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One sequence head."""
        return (HeadSpec("relevance", "sequence_class", len(_CLASSES), class_names=_CLASSES),)

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Every document of more than a sentence; its title is the query, or its first sentence where it has none."""
        starts, stops = layout.document_tokens[:-1], layout.document_tokens[1:]
        room = min(length - _SPECIALS, self.options.query_tokens + self.options.passage_tokens)
        fits = np.diff(layout.document_offsets) >= self.minimum_sentences
        # As long as the sample is, query and passage are together, wherever the passage comes from.
        starts, stops = starts[fits], np.minimum(stops, starts + room)[fits]
        return SampleIndex(starts, stops, stops - starts + _SPECIALS)

    def example(self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus) -> Example | None:
        """Pair the query with a passage of a class that is drawn last, when there is one of each class, all of one length."""
        document = corpus.document_at(text.start)
        query = self._query(text, document, corpus)
        query = query.part(0, min(len(query.token_ids), self.options.query_tokens))
        room = min(len(text.token_ids) - len(query.token_ids), self.options.passage_tokens)
        if self.options.rows:
            if text.sentences < self.minimum_sentences:
                return None
            label = self._label_of_row(document, corpus)
            passage = text.sentence_range(1, 2)
        else:
            room = min(room, int(_tokens_to_choose(corpus, np.array(document))))
            documents = self._documents(document, room, rng, corpus) if room >= _SHORTEST else None
            if documents is None:
                return None
            label = int(rng.integers(len(_CLASSES)))
            passage = corpus.passage(*_passage(documents[label], room, rng, corpus), tuple(text.layers))
        passage = passage.part(0, min(len(passage.token_ids), room))
        targets = {"relevance": Targets(np.zeros(1, dtype=np.int64), np.array([label]))}
        return assemble(self, [query, passage], targets)

    def _query(self, text: AnnotatedText, document: int, corpus: TaskCorpus) -> AnnotatedText:
        title = corpus.document_layer(_TITLES, document) if _TITLES in self.document_layers else np.zeros(0)
        if not title.any():
            return text.sentence_range(0, 1)
        token_ids = title[title > 0].astype(np.int64)
        # Nothing is marked in titles: each token counts as a word.
        layers = {name: np.full(len(token_ids), name == "word_starts", dtype=np.uint8) for name in text.layers}
        return AnnotatedText(token_ids, np.array([0, len(token_ids)]), layers)

    @staticmethod
    def _documents(document: int, room: int, rng: np.random.Generator, corpus: TaskCorpus) -> tuple[int, int, int] | None:
        """Choose a document for each class, with enough text; None where a class has none."""
        found = document + corpus.document_layer(_FOUND, document).astype(np.int64)
        weak = found[(found != document) & (_tokens_to_choose(corpus, found) >= room)]
        if not len(weak):
            return None
        others = rng.integers(corpus.documents, size=_DRAWS)
        fits = (_tokens_to_choose(corpus, others) >= room) & (others != document) & ~(others[:, None] == found).any(axis=1)
        if not fits.any():
            return None
        return document, int(weak[rng.integers(len(weak))]), int(others[fits.argmax()])

    def _label_of_row(self, row: int, corpus: TaskCorpus) -> int:
        labels = corpus.labels
        classes = self.profile.tables[self.options.rows or ""].classes
        if {"shown", "clicked"} <= classes.keys():
            shown, clicked = (classes[name][int(labels[name][row])] not in ("0", "False") for name in ("shown", "clicked"))
            return 0 if clicked else 1 if shown else 2
        return _CLASSES.index(self.options.grades[classes[self.options.grade][int(labels[self.options.grade][row])]])


def _tokens_to_choose(corpus: TaskCorpus, documents: IntArray) -> IntArray:
    """Return how many tokens documents have after their first sentence."""
    first, last = corpus.document_offsets[documents] + 1, corpus.document_offsets[documents + 1]
    return corpus.sentence_offsets[last] - corpus.sentence_offsets[first]


def _passage(document: int, room: int, rng: np.random.Generator, corpus: TaskCorpus) -> tuple[int, int]:
    """Choose a passage that fills the room, from the start of a sentence after the first on."""
    first, last = corpus.document_offsets[document] + 1, corpus.document_offsets[document + 1]
    starts, end = corpus.sentence_offsets[first:last], int(corpus.sentence_offsets[last])
    enough = int(starts.searchsorted(end - room, side="right"))
    start = int(starts[rng.integers(enough)])
    return start, start + room
