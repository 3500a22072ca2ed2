"""An order of the candidates of a query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
)

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kinds.kind import Collate, Encoded, Inputs, Kind, label_name, number
from ernie_cmtl.finetuning.kinds.pairs import encode_texts, texts_of
from ernie_cmtl.finetuning.sets.recipe import STRICT
from ernie_cmtl.finetuning.sets.rows import LabelledRow
from ernie_cmtl.finetuning.sets.scores import ranking_scores
from ernie_cmtl.records import Array


class RankingOptions(BaseModel):
    """How candidates are trained on."""

    model_config = STRICT

    candidates: int = Field(16, ge=2)
    """Maximum candidates per list. A longer query is split into several lists, each with every
    grade where possible.
    """


@dataclass(frozen=True, slots=True)
class Query:
    """A query with its candidates."""

    texts: list[tuple[str, ...]]
    grades: list[float]


class Ranking(Kind):
    """One score a candidate; cross entropy between the softmax over a query's scores and its grades
    as parts of their sum.
    """

    head = AutoModelForSequenceClassification
    metrics = ("ndcg_at_10", "mrr", "ndcg")
    Options = RankingOptions
    options: RankingOptions
    # Any other type would have a pipeline squeeze the scores between 0 and 1, where some are equal.
    problem_type = "regression"

    def examples(self, rows: Sequence[LabelledRow]) -> list[Query]:
        """Return the queries in the order of their first rows."""
        queries: dict[str, Query] = {}
        first: dict[str, str] = {}
        for row in rows:
            name = query_name(row)
            first.setdefault(name, row.place)
            query = queries.setdefault(name, Query([], []))
            query.texts.append(texts_of(row))
            query.grades.append(number(row.label, row.place))
            if query.grades[-1] < 0:
                raise UserError(f"{row.place}: grade {row.label!r} is below 0")
        for name, query in queries.items():
            if len(query.texts) < 2:
                raise UserError(
                    f"{first[name]}: query {name!r} has one candidate; ranking needs two or more"
                )
        return list(queries.values())

    def encode(
        self,
        examples: Sequence[Query],
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        training: bool,
    ) -> Encoded:
        """Tokenize lists of candidates for training, single candidates for judging."""
        encoded = encode_texts(
            [texts for query in examples for texts in query.texts], tokenizer, length
        )
        if not training:
            return Encoded(encoded)
        remaining = iter(encoded)
        lists = []
        for query in examples:
            inputs = [next(remaining) for _ in query.texts]
            lists += [
                _as_list(inputs, query.grades, places)
                for places in deal_out(query.grades, self.options.candidates)
            ]
        if not lists:
            raise UserError(
                "no training query has a relevant candidate beside others: all grades are 0, or "
                "all are equal"
            )
        return Encoded(lists)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Collate:
        """Return what puts the candidates of several lists into one padded batch; `lists` says
        which belong together.
        """
        pad = DataCollatorWithPadding(tokenizer)

        def collate(inputs: list[Inputs]) -> dict[str, Tensor]:
            if isinstance(inputs[0]["input_ids"][0], int):
                return dict(pad(inputs))
            flat = [
                dict(zip(one, values, strict=True))
                for one in inputs
                for values in zip(*one.values(), strict=True)
            ]
            lists = torch.repeat_interleave(torch.tensor([len(one["input_ids"]) for one in inputs]))
            return dict(pad(flat)) | {"lists": lists}

        return collate

    def loss(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the mean over lists of the cross entropy between scores and grades."""
        inputs = dict(inputs)
        lists, grades = inputs.pop("lists"), inputs.pop("labels")
        return listwise_loss(model(**inputs).logits[:, 0].float(), grades.float(), lists)

    def scores(
        self, examples: Sequence[Query], encoded: Encoded, predicted: Sequence[Array]
    ) -> dict[str, float]:
        """Order the candidates of each query."""
        ends = np.cumsum([len(query.texts) for query in examples])[:-1]
        values = np.split(np.array([score[0] for score in predicted]), ends)
        return ranking_scores(
            [(np.array(query.grades), found) for query, found in zip(examples, values, strict=True)]
        )

    def unlabelled(self, rows: Sequence[LabelledRow]) -> list[Query]:
        """Return the candidate of each row alone: its score does not depend on the others."""
        return [Query([texts_of(row)], [0.0]) for row in rows]

    def answers(
        self, examples: Sequence[Query], encoded: Encoded, predicted: Sequence[Array]
    ) -> list[dict[str, Any]]:
        """Return the score of each candidate."""
        return [{"score": float(values[0])} for values in predicted]


def query_name(row: LabelledRow) -> str:
    """Return what all rows of one query share."""
    return label_name(row.text if row.group is None else row.group)


def _as_list(inputs: list[Inputs], grades: list[float], places: list[int]) -> Inputs:
    kept = {name: [inputs[place][name] for place in places] for name in inputs[0]}
    return kept | {"labels": [grades[place] for place in places]}


def deal_out(grades: Sequence[float], most: int) -> list[list[int]]:
    """Return the places of candidates in lists of at most so many, best grades dealt out first;
    useless lists are left out.

    A list teaches something if one grade is above 0 and two differ.
    """
    count = -(-len(grades) // most)
    order = sorted(range(len(grades)), key=lambda place: -grades[place])
    lists = [order[start::count] for start in range(count)]
    return [places for places in lists if len({grades[place] for place in places}) > 1]


def listwise_loss(scores: Tensor, grades: Tensor, lists: Tensor) -> Tensor:
    """Return the mean over lists of the cross entropy between softmax(scores) and grades / sum of
    grades.

    scores, grades: float [candidates]; lists: int64 [candidates], the number of the list of each,
    from 0, rising.
    """
    together = torch.where(
        lists[:, None] == torch.arange(int(lists[-1]) + 1, device=lists.device), 0.0, -torch.inf
    )
    normalizer = (scores[:, None] + together).logsumexp(0)
    count = len(normalizer)
    sums = torch.zeros(count, device=scores.device).index_add(0, lists, grades)
    return -(grades / sums[lists] * (scores - normalizer[lists])).sum() / count
