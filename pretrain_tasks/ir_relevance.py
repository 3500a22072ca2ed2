"""Information retrieval: is a passage the one that a query asks for, one that a search finds, or
neither?
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ernie_cmtl.data.sequences import assemble
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import AnnotatedText, CorpusProfile, Example, IntArray, Targets
from ernie_cmtl.task import (
    HeadSpec,
    PretrainTask,
    SampleIndex,
    TaskCorpus,
    TaskOptions,
    TextLayout,
    labelled_classes,
)

Draws = npt.NDArray[np.float64]

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
    """Maximum tokens of a query."""
    passage_tokens: int = Field(96, ge=8)
    """Maximum tokens of a passage."""
    grade: str = "grade"
    """Column of the grade, if the pairs come from a table (`table`). Not read if the table has
    `shown` and `clicked`.
    """
    grades: dict[str, Literal["strong", "weak", "irrelevant"]] = Field(
        {"2": "strong", "1": "weak", "0": "irrelevant"}
    )
    """Grade in the table -> one of the paper's three classes."""


class IrRelevance(PretrainTask):
    """Three classes a pair: strong, weak, irrelevant; mined from running text, or read from a
    log.
    """

    family = "semantic"
    citation = "ERNIE 2.0, section 4.2.3"
    Options = IrRelevanceOptions
    options: IrRelevanceOptions

    def __init__(self, options: IrRelevanceOptions, profile: CorpusProfile) -> None:
        """Read what the columns of a log say.

        Raises:
            UserError: The table has other text columns than two, no column of grades, or a grade
                that the options do not name.
        """
        super().__init__(options, profile)
        if options.table is None or options.table not in profile.tables:
            return
        is_log = {"shown", "clicked"} <= profile.tables[options.table].classes.keys()
        column = "clicked" if is_log else options.grade
        classes = labelled_classes(profile, options.table, 2, column, "grade")
        unknown = [grade for grade in classes if not is_log and grade not in options.grades]
        if unknown:
            known = ", ".join(options.grades)
            raise UserError(
                f"table {options.table!r} has grades {', '.join(unknown)} that grades does not "
                f"name; it names {known}"
            )

    @property
    def document_layers(self) -> tuple[str, ...]:
        """What a search found, and titles where the corpus has them; a table has its own queries
        and grades.
        """
        if self.options.table:
            return ()
        return (_FOUND, _TITLES) if _TITLES in self.profile.layers else (_FOUND,)

    @property
    def minimum_sentences(self) -> int:
        """The query and what it asks for."""
        return 2

    @property
    def minimum_documents(self) -> int:
        """One that is asked for, one that is found, one that is not."""
        return 1 if self.options.table else 3

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One sequence head."""
        return (HeadSpec("relevance", "sequence_class", len(_CLASSES), class_names=_CLASSES),)

    def index(self, layout: TaskCorpus, length: int) -> SampleIndex:
        """Every document of more than a sentence; its title is the query, or its first sentence
        where it has none.
        """
        starts, stops = layout.document_tokens[:-1], layout.document_tokens[1:]
        room = min(length - _SPECIALS, self.options.query_tokens + self.options.passage_tokens)
        (found,) = (np.diff(layout.document_offsets) >= self.minimum_sentences).nonzero()
        starts, stops = starts[found], np.minimum(stops, starts + room)[found]
        behind = _tokens_to_choose(layout, found)
        queries = layout.document_tokens[found + 1] - behind - starts
        if _TITLES in self.document_layers:
            titles = np.array(
                [
                    np.count_nonzero(layout.document_layer(_TITLES, document))
                    for document in found.tolist()
                ]
            )
            queries = np.where(titles > 0, titles, queries)
        queries = np.minimum(queries, self.options.query_tokens)
        # As long as this is the passage, wherever it comes from.
        passages = np.minimum(
            np.minimum(stops - starts - queries, self.options.passage_tokens), behind
        )
        fits = passages >= (1 if self.options.table else _SHORTEST)
        return SampleIndex(starts[fits], stops[fits], (queries + passages)[fits] + _SPECIALS)

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Pair the query with a passage of a class that is drawn last, when there is one of each
        class, all of one length.
        """
        document = corpus.document_at(text.start)
        query = self._query(text, document, corpus)
        query = query.part(0, min(len(query.token_ids), self.options.query_tokens))
        room = min(len(text.token_ids) - len(query.token_ids), self.options.passage_tokens)
        if self.options.table:
            if text.sentences < self.minimum_sentences:
                return None
            label = self._label_of_row(document, corpus)
            second = text.sentence_range(1, 2)
            passage = second.part(0, min(len(second.token_ids), room))
        else:
            room = min(room, int(_tokens_to_choose(corpus, document)))
            draws = rng.random(3 + _DRAWS)
            documents = self._documents(document, room, draws[2:], corpus)
            if documents is None:
                return None
            label = int(draws[0] * len(_CLASSES))
            passage = corpus.passage(
                *_passage(documents[label], room, draws[1], corpus), tuple(text.layers)
            )
        targets = {"relevance": Targets(np.zeros(1, dtype=np.int64), np.array([label]))}
        return assemble(self, [query, passage], targets)

    def _query(self, text: AnnotatedText, document: int, corpus: TaskCorpus) -> AnnotatedText:
        title = (
            corpus.document_layer(_TITLES, document)
            if _TITLES in self.document_layers
            else np.zeros(0)
        )
        if not title.any():
            return text.sentence_range(0, 1)
        token_ids = title[title > 0].astype(np.int64)
        # Nothing is marked in titles: each token counts as a word.
        layers = {
            name: np.full(len(token_ids), name == "word_starts", dtype=np.uint8)
            for name in text.layers
        }
        return AnnotatedText(token_ids, np.array([0, len(token_ids)]), layers)

    @staticmethod
    def _documents(
        document: int, room: int, draws: Draws, corpus: TaskCorpus
    ) -> tuple[int, int, int] | None:
        """Choose a document for each class, with enough text; None where a class has none. draws:
        [1 + 16], in 0..1.
        """
        found = document + corpus.document_layer(_FOUND, document).astype(np.int64)
        drawn = (draws[1:] * corpus.documents).astype(np.int64)
        candidates = np.concatenate((found, drawn))
        fits = (_tokens_to_choose(corpus, candidates) >= room) & (candidates != document)
        weak = found[fits[: len(found)]]
        known = found.tolist()
        irrelevant = next(
            (other for other in drawn[fits[len(found) :]].tolist() if other not in known), None
        )
        if not len(weak) or irrelevant is None:
            return None
        return document, int(weak[int(draws[0] * len(weak))]), irrelevant

    def _label_of_row(self, row: int, corpus: TaskCorpus) -> int:
        labels = corpus.labels
        classes = self.profile.tables[self.options.table or ""].classes
        if {"shown", "clicked"} <= classes.keys():
            shown, clicked = (
                classes[name][int(labels[name][row])] not in ("0", "False")
                for name in ("shown", "clicked")
            )
            return 0 if clicked else 1 if shown else 2
        return _CLASSES.index(
            self.options.grades[classes[self.options.grade][int(labels[self.options.grade][row])]]
        )


def _tokens_to_choose(corpus: TextLayout, documents: IntArray | int) -> IntArray:
    """Return how many tokens documents have after their first sentence."""
    return (
        corpus.document_tokens[documents + 1]
        - corpus.sentence_offsets[corpus.document_offsets[documents] + 1]
    )


def _passage(document: int, room: int, draw: float, corpus: TaskCorpus) -> tuple[int, int]:
    """Choose a passage that fills the room, from the start of a sentence after the first on; draw:
    in 0..1.
    """
    first, last = corpus.document_offsets[document] + 1, corpus.document_offsets[document + 1]
    starts, end = corpus.sentence_offsets[first:last], int(corpus.sentence_offsets[last])
    enough = int(starts.searchsorted(end - room, side="right"))
    start = int(starts[int(draw * enough)])
    return start, start + room
