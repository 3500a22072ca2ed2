"""The task embedding: a vector for each task, added to every token of its sequences."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

TASK_ROWS = 32
"""Rows of the task embedding; a run fills them in order of introduction."""
_TASKS, _SEGMENTS = "task_type_embeddings.weight", "token_type_embeddings.weight"


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


def fold_task_row(state: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    """Return the weights of a model of transformers without its task embedding: one row of it is
    added to every segment's vector, so a program that passes no task ids computes that task.

    state: weights of an Ernie class, with any prefix and any head; weights without a task embedding
    stay as they are.
    """
    folded = {name: value for name, value in state.items() if not name.endswith(_TASKS)}
    for name in state.keys() - folded.keys():
        segments = name.removesuffix(_TASKS) + _SEGMENTS
        folded[segments] = folded[segments] + state[name][row]
    return folded
