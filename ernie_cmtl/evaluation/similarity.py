"""Do the embeddings of two sentences say how similar people find them? No training: cosine against
the given score.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.masked_lm import MaskedLanguageModel
from ernie_cmtl.records import Array

COLUMNS = ("sentence1", "sentence2", "score")
_TOKENS = 4096
"""Most tokens that go through the encoder at once."""


@dataclass(frozen=True)
class ScoredPair:
    """Two sentences and how similar people find them."""

    sentences: tuple[str, str]
    score: float
    place: str
    """File and line, for people."""


def scored_pairs(rows: Iterable[tuple[int, Mapping[str, Any]]], path: Path) -> list[ScoredPair]:
    """Take sentence1, sentence2 and score out of numbered rows; path: of their file.

    Raises:
        UserError: There are fewer than three rows, all scores are equal, or a row lacks a value.
    """
    pairs = [_scored_pair(row, f"{path}, line {number}") for number, row in rows]
    if len({pair.score for pair in pairs}) < 2 or len(pairs) < 3:
        raise UserError(
            f"{path}: a correlation needs three rows and different scores; there are {len(pairs)} "
            "rows"
        )
    return pairs


def _scored_pair(row: Mapping[str, Any], place: str) -> ScoredPair:
    if missing := [name for name in COLUMNS if name not in row]:
        raise UserError(
            f"{place} has no {missing[0]!r}; needed are {', '.join(COLUMNS)}, it has "
            f"{', '.join(row) or 'none'}"
        )
    first, second, score = (row[name] for name in COLUMNS)
    for name, sentence in zip(COLUMNS, (first, second), strict=False):
        if not isinstance(sentence, str) or not sentence.strip():
            raise UserError(f"{place}: {name!r} is no sentence: {sentence!r}")
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = float("nan")
    if not isfinite(number):
        raise UserError(f"{place}: score {score!r} is no number")
    return ScoredPair((first, second), number, place)


def judge_similarity(judged: MaskedLanguageModel, pairs: Sequence[ScoredPair]) -> dict[str, Any]:
    """Correlate the cosine of two embeddings with the score of each pair.

    Keys: `pairs`; `mean` (of all tokens) and `cls` (the first token), each with `pearson`, its
    `interval` (by Fisher's z, 95 %) and `spearman`.

    Raises:
        UserError: SciPy is not installed, or a sentence is too long for the model.
    """
    return correlate(pair_cosines(judged, pairs), pairs)


def pair_cosines(judged: MaskedLanguageModel, pairs: Sequence[ScoredPair]) -> dict[str, Array]:
    """Return the cosine of the two embeddings of each pair for each pooling; float64 [pairs].

    Raises:
        UserError: A sentence is too long for the model.
    """
    sentences = [sentence for pair in pairs for sentence in pair.sentences]
    places = [place for pair in pairs for place in repeat(pair.place, 2)]
    return {
        name: cosine_similarity(embeddings[0::2], embeddings[1::2]).double().numpy()
        for name, embeddings in _embeddings(judged, sentences, places).items()
    }


def correlate(found_cosines: Mapping[str, Array], pairs: Sequence[ScoredPair]) -> dict[str, Any]:
    """Correlate cosines with the scores of their pairs; keys as of `judge_similarity`.

    Raises:
        UserError: SciPy is not installed.
    """
    try:
        from scipy.stats import pearsonr, spearmanr
    except ImportError as error:
        raise UserError("similarity needs scipy: pip install 'ernie-cmtl[finetune]'") from error
    found: dict[str, Any] = {"pairs": len(pairs)}
    scores = [pair.score for pair in pairs]
    for name, cosines in found_cosines.items():
        pearson = pearsonr(cosines, scores)
        interval = (
            [float(end) for end in pearson.confidence_interval(0.95)] if len(pairs) > 3 else None
        )
        found[name] = {
            "pearson": float(pearson.statistic),
            "interval": interval,
            "spearman": float(spearmanr(cosines, scores).statistic),
        }
    return found


@torch.inference_mode()
def _embeddings(
    judged: MaskedLanguageModel, sentences: Sequence[str], places: Sequence[str]
) -> dict[str, Tensor]:
    """Return the embeddings of sentences by each way of pooling; [sentences, hidden]."""
    encoded = judged.encode(sentences, places)["input_ids"]
    by_length: dict[int, list[int]] = {}
    for number, tokens in enumerate(encoded):
        by_length.setdefault(len(tokens), []).append(number)
    found: dict[str, list[Tensor]] = {
        "mean": [torch.empty(0)] * len(encoded),
        "cls": [torch.empty(0)] * len(encoded),
    }
    for length, members in by_length.items():
        size = max(1, _TOKENS // length)
        for first in range(0, len(members), size):
            chosen = members[first : first + size]
            inputs = torch.tensor(
                [encoded[number] for number in chosen], device=judged.model.device
            )
            states = judged.encoder(input_ids=inputs).last_hidden_state.float().cpu()
            for row, number in enumerate(chosen):
                found["mean"][number], found["cls"][number] = states[row].mean(0), states[row, 0]
    return {name: torch.stack(rows) for name, rows in found.items()}
