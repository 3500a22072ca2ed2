"""Supervised ranking: which of a few candidates of a query has the highest grade?"""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ernie_cmtl.data.sequences import assemble, join
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import AnnotatedText, CorpusProfile, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TaskOptions

Grades = npt.NDArray[np.float64]
_SPECIALS = 3


class SupervisedRankingOptions(TaskOptions):
    """How many candidates there are to choose from; `table` names the labelled rows, those of a
    query one after another.
    """

    label: str = "grade"
    """Column of grades: numbers, or classes whose names are numbers."""
    candidates: int = Field(4, ge=2, le=16)
    """Number of candidates: one, and others of the same query with lower grades."""
    reach: int = Field(32, ge=1)
    """Number of rows before and after a row from which candidates may be drawn."""
    query_tokens: int = Field(16, ge=1)
    """Maximum tokens of a query."""
    candidate_tokens: int = Field(32, ge=1)
    """Maximum tokens of a candidate."""


class SupervisedRanking(PretrainTask):
    """One choice an example, a softmax over the scores of its candidates; each has a sequence of
    its own, after the query.
    """

    family = "semantic"
    citation = "MT-DNN (Liu et al. 2019), section 3, relevance ranking"
    Options = SupervisedRankingOptions
    options: SupervisedRankingOptions

    def __init__(self, options: SupervisedRankingOptions, profile: CorpusProfile) -> None:
        """Read the grades.

        Raises:
            UserError: The table has other text columns than two, no such column, or a grade that
                is no number.
        """
        super().__init__(options, profile)
        self._named: Grades | None = None
        if (table := profile.tables.get(options.table or "")) is None:
            return
        if len(table.texts) != 2:
            raise UserError(
                f"table {options.table!r} has texts {', '.join(table.texts)}; this task takes two"
            )
        if options.label in table.numbers:
            return
        try:
            self._named = np.array([float(name) for name in table.classes[options.label]])
        except KeyError:
            there = ", ".join((*table.classes, *table.numbers)) or "none"
            raise UserError(
                f"table {options.table!r} has no column {options.label!r} of grades; there are: "
                f"{there}"
            ) from None
        except ValueError as error:
            raise UserError(
                f"table {options.table!r}, column {options.label!r}: a grade is no number: {error}"
            ) from error

    @property
    def minimum_sentences(self) -> int:
        """Query and candidate."""
        return 2

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One choice."""
        return (HeadSpec("best", "choice", classes=self.options.candidates),)

    def _grades(self, corpus: TaskCorpus) -> Grades:
        labels = corpus.labels[self.options.label]
        return labels.astype(np.float64) if self._named is None else self._named[labels]

    def index(self, layout: TaskCorpus, length: int) -> SampleIndex:
        """Every row with enough rows of its query near it that have lower grades, if as many of the
        longest fit.

        Raises:
            UserError: No table is named.
        """
        if self.options.table is None:
            raise UserError("a supervised task reads a table: name it with table: NAME")
        starts, stops = layout.document_tokens[:-1], layout.document_tokens[1:]
        middles = layout.sentence_offsets[layout.document_offsets[:-1] + 1]
        grades, first, end = self._grades(layout), *_near(layout, self.options.reach)
        candidates = np.minimum(stops - middles, self.options.candidate_tokens)
        slots = np.zeros(len(starts), dtype=np.int64)
        for row in range(len(starts)):
            near = slice(first[row], end[row])
            if (grades[near] < grades[row]).sum() >= self.options.candidates - 1:
                query = min(middles[row] - starts[row], self.options.query_tokens)
                slots[row] = self.options.candidates * (query + candidates[near].max() + _SPECIALS)
        fits = (slots > 0) & (slots <= length)
        return SampleIndex(starts[fits], stops[fits], slots[fits])

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Draw candidates with lower grades, and put all in an order that tells nothing."""
        row, grades = corpus.document_at(text.start), self._grades(corpus)
        rows = [
            other
            for other in _rows_of_query(corpus, row, self.options.reach)
            if grades[other] < grades[row]
        ]
        wanted = self.options.candidates - 1
        if len(rows) < wanted:
            return None
        drawn = [row, *(rows[place] for place in rng.permutation(len(rows))[:wanted])]
        order = rng.permutation(len(drawn))
        query = _cut(text.sentence_range(0, 1), self.options.query_tokens)
        sequences = []
        for place in order:
            start, stop = (
                corpus.document_tokens[drawn[place]],
                corpus.document_tokens[drawn[place] + 1],
            )
            pair = corpus.passage(int(start), int(stop), tuple(text.layers))
            sequences.append(
                assemble(
                    self,
                    [query, _cut(pair.sentence_range(1, 2), self.options.candidate_tokens)],
                    {},
                )
            )
        firsts = np.cumsum([0] + [len(sequence.token_ids) for sequence in sequences[:-1]])
        return join(sequences, {"best": Targets(firsts[None], np.flatnonzero(order == 0))})


def _cut(text: AnnotatedText, most: int) -> AnnotatedText:
    return text.part(0, min(len(text.token_ids), most))


def _query(corpus: TaskCorpus, row: int) -> bytes:
    """Return what tells the query of a row from those of others."""
    first = corpus.document_offsets[row]
    start, stop = corpus.sentence_offsets[first], corpus.sentence_offsets[first + 1]
    return corpus.passage(int(start), int(stop), ()).token_ids.tobytes()


def _near(corpus: TaskCorpus, reach: int) -> tuple[list[int], list[int]]:
    """Return for each row the first row of its query within reach, and one past the last."""
    queries = [_query(corpus, row) for row in range(corpus.documents)]
    first, end = list(range(len(queries))), [row + 1 for row in range(len(queries))]
    for row in range(1, len(queries)):
        if queries[row] == queries[row - 1]:
            first[row] = first[row - 1]
    for row in range(len(queries) - 2, -1, -1):
        if queries[row] == queries[row + 1]:
            end[row] = end[row + 1]
    rows = range(len(queries))
    return [max(first[row], row - reach) for row in rows], [
        min(end[row], row + reach + 1) for row in rows
    ]


def _rows_of_query(corpus: TaskCorpus, row: int, reach: int) -> list[int]:
    """Return the other rows of the query of a row, within reach."""
    query, found = _query(corpus, row), []
    for others in (range(row - 1, row - reach - 1, -1), range(row + 1, row + reach + 1)):
        for other in others:
            if not 0 <= other < corpus.documents or _query(corpus, other) != query:
                break
            found.append(other)
    return sorted(found)
