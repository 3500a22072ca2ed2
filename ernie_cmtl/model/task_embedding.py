"""The task embedding: a vector for each task, added to every token of its sequences."""

import torch
from torch import Tensor, nn
from torch.nn import functional

TASK_ROWS = 32
"""Rows of the task embedding; a run fills them in order of introduction."""


class TaskEmbedding(nn.Module):
    """A row a task, each its own parameter: a task without labels in a step gets no gradient, so
    its row does not move.
    """

    def __init__(self, rows: int, size: int, deviation: float) -> None:
        super().__init__()
        self.rows = nn.ParameterList(
            [nn.Parameter(torch.randn(size) * deviation) for _ in range(rows)]
        )

    def table(self) -> Tensor:
        """Return the rows as one table; [rows, size]."""
        return torch.stack(list(self.rows))

    def forward(self, task_type_ids: Tensor) -> Tensor:
        """Look up rows; task_type_ids: int64 [...]; returns [..., size]."""
        return functional.embedding(task_type_ids, self.table())
