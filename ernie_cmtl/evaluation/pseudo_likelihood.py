"""Masked pseudo-log-likelihood: each token of a sentence is masked in turn and predicted from all
the others.

After Salazar et al. 2020 (arXiv 1910.14659); with the rest of its word masked too: Kauf and Ivanova
2023 (arXiv 2305.10588).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchEncoding

from ernie_cmtl.evaluation.masked_lm import MaskedLanguageModel
from ernie_cmtl.records import IntArray

_TOKENS = 2048
"""Most tokens that go through the encoder at once: what they need stays in the cache of a
processor.
"""


@dataclass(frozen=True)
class _Question:
    """What stands at a place of a masked sentence."""

    sentence: int
    place: int
    masked: IntArray
    """The sentence with the place masked, int64 [T]."""
    token: int


def pseudo_log_likelihoods(
    judged: MaskedLanguageModel, encoded: BatchEncoding, rest_of_word: bool = False
) -> list[float]:
    """Return the sum of the log-probabilities of the tokens of each sentence that are not special.

    encoded: as `MaskedLanguageModel.encode` makes it; rest_of_word: mask with each token those
    after it in its word.
    """
    totals = np.zeros(len(encoded["input_ids"]))
    # Sentences of a pair ask the same where they differ, so equal inputs are computed once.
    groups: dict[tuple[int, bytes], list[_Question]] = {}
    for question in _questions(encoded, judged.mask_id, rest_of_word):
        groups.setdefault((question.place, question.masked.tobytes()), []).append(question)
    by_length: dict[int, list[list[_Question]]] = {}
    for group in groups.values():
        by_length.setdefault(len(group[0].masked), []).append(group)
    for length, members in by_length.items():
        size = max(1, _TOKENS // length)
        for first in range(0, len(members), size):
            _answer(judged, members[first : first + size], totals)
    return [float(total) for total in totals]


def _questions(encoded: BatchEncoding, mask_id: int, rest_of_word: bool) -> Iterator[_Question]:
    for sentence, (tokens, special) in enumerate(
        zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
    ):
        token_ids = np.array(tokens)
        words = (
            np.array([-1 if word is None else word for word in encoded.word_ids(sentence)])
            if rest_of_word
            else None
        )
        for place in np.flatnonzero(np.array(special) == 0).tolist():
            masked = token_ids.copy()
            masked[place] = mask_id
            if words is not None:
                masked[place:][words[place:] == words[place]] = mask_id
            yield _Question(sentence, place, masked, tokens[place])


@torch.inference_mode()
def _answer(
    judged: MaskedLanguageModel, groups: list[list[_Question]], totals: np.ndarray[Any, Any]
) -> None:
    """Add the log-probability of each question to the total of its sentence; groups ask about one
    input each, all as long.
    """
    inputs = torch.from_numpy(np.stack([group[0].masked for group in groups])).to(
        judged.model.device
    )
    places = torch.tensor([group[0].place for group in groups], device=inputs.device)
    scores = _scores_at(judged, inputs, places).float()
    rows = torch.tensor(
        [row for row, group in enumerate(groups) for _ in group], device=inputs.device
    )
    tokens = torch.tensor(
        [question.token for group in groups for question in group], device=inputs.device
    )
    found = scores[rows, tokens] - scores.logsumexp(-1)[rows]
    np.add.at(
        totals,
        [question.sentence for group in groups for question in group],
        found.double().cpu().numpy(),
    )


def _scores_at(judged: MaskedLanguageModel, inputs: Tensor, places: Tensor) -> Tensor:
    """Return the vocabulary scores at one place of each input; the head, the dearest part, runs
    nowhere else; [N, vocabulary].
    """

    def keep(module: Any, given: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[
            torch.arange(len(places), device=places.device), places
        ][:, None]
        return output

    handle = judged.encoder.register_forward_hook(keep)
    try:
        scores: Tensor = judged.model(input_ids=inputs).logits
    finally:
        handle.remove()
    return scores[:, 0]
