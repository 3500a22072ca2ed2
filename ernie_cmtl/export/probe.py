"""Sequences on which a run and its export are compared: packed there, padded here."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.records import Batch, BatchTargets, IntArray

LARGEST_DIFFERENCE = 1e-4
"""Of log-probabilities, states and scores; float32."""


@dataclass(frozen=True)
class Probe:
    """A few sequences of different lengths that hold many tokens, a mask, and two segments."""

    token_ids: Tensor
    """Padded; int64 [N, L]."""
    segments: Tensor
    """int64 [N, L]."""
    inside: Tensor
    """Is there a token; bool [N, L]."""
    has_segments: bool
    """Does the stock class take them."""

    @classmethod
    def of(cls, trained: TrainedModel, lengths: tuple[int, ...]) -> "Probe":
        """Make sequences of some lengths, shortened to what the encoder takes."""
        family = trained.model.family
        longest = family.config.maximum_positions
        sizes = torch.tensor([min(length, longest) for length in lengths])
        number, length = len(sizes), int(sizes.max())
        token_ids = torch.arange(number * length).remainder(family.vocabulary_size)
        token_ids = token_ids.view(number, length)
        token_ids[:, 1] = cast(int, trained.tokenizer.mask_token_id)
        places = torch.arange(length).expand(number, -1)
        inside = places < sizes[:, None]
        pad = cast(int, trained.tokenizer.pad_token_id)
        has_segments = getattr(family.stock_config(), "type_vocab_size", 0) > 1
        segments = (places >= sizes[:, None] // 2) & inside & has_segments
        return cls(token_ids.masked_fill(~inside, pad), segments.long(), inside, bool(has_segments))

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What a stock class takes."""
        found = {"input_ids": self.token_ids, "attention_mask": self.inside.long()}
        return found | ({"token_type_ids": self.segments} if self.has_segments else {})

    def at_tokens(self, padded: Tensor) -> Tensor:
        """Return what stands at tokens, sequence after sequence; [tokens, ...]."""
        return padded[self.inside]

    def padded(self, packed: Tensor) -> Tensor:
        """Return what stands at tokens where the stock class has it, zeros elsewhere."""
        made = packed.new_zeros((*self.inside.shape, *packed.shape[1:]))
        made[self.inside] = packed
        return made

    def packed(self, row: int, targets: dict[str, BatchTargets] | None = None) -> TensorBatch:
        """Return the sequences in one row, as the run sees them; row: of the task embedding."""
        flat = self._flat(self.token_ids)
        places = self._flat(torch.arange(self.inside.shape[1]).expand(self.inside.shape))
        batch = Batch(
            flat,
            self._flat(self.segments),
            np.full_like(flat, row),
            places,
            self.starts,
            self.inside.sum(1).numpy(),
            targets or {},
        )
        return TensorBatch.of(batch, torch.device("cpu"))

    @torch.no_grad()
    def states_of_run(self, trained: TrainedModel) -> Tensor:
        """Return what the run's encoder gives at tokens, in the view of the task that is folded;
        [tokens, hidden].
        """
        family = trained.model.train(False).family
        return family.encode(self.packed(trained.task_row), None, False).last[0]

    @property
    def starts(self) -> IntArray:
        """Place of the first token of each sequence in the row; int64 [N]."""
        lengths = self.inside.sum(1).numpy()
        return np.asarray(np.cumsum(lengths) - lengths)

    def _flat(self, padded: Tensor) -> IntArray:
        return np.asarray(self.at_tokens(padded).numpy())[None]


def largest(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference between two tensors."""
    return float((found - expected).abs().max())


def check_close(differences: dict[str, float]) -> dict[str, Any]:
    """Return differences under the names that results have.

    Raises:
        RuntimeError: One is too large.
    """
    if not max(differences.values()) <= LARGEST_DIFFERENCE:
        raise RuntimeError(f"the reloaded export does not compute what the run does: {differences}")
    return {f"max_abs_{name}_difference": value for name, value in differences.items()}
