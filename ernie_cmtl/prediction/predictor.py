"""What can be asked of rows of a file, whatever the model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ernie_cmtl.finetuning.sets.rows import LabelledRow

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

Answer = dict[str, Any]
"""What a model says of one row: names and values of JSON."""


class Predictor(ABC):
    """A model that is ready to answer."""

    kind: str
    """What it gives: embeddings, or the kind of labelled set that it was fine-tuned on."""
    columns: Mapping[str, str]
    """Role (text, text_pair, group) -> name of the column that is read."""
    ranks: bool = False
    """Its scores order the rows of one query."""

    @abstractmethod
    def check(self, row: LabelledRow) -> None:
        """Refuse a row that cannot be answered.

        Raises:
            UserError: It is one; the message names its place.
        """

    @abstractmethod
    def answers(self, rows: Sequence[LabelledRow]) -> list[Answer]:
        """Return an answer for each row, in their order."""
