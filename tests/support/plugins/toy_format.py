"""An export format of one's own: word vectors as text."""

from pathlib import Path
from typing import Any

import numpy as np

from ernie_cmtl.export.card import CardFacts
from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.export.writer import ExportFormat

NAME = "vectors.txt"


class ToyFormat(ExportFormat):
    def write(self, folder: Path, trained: TrainedModel) -> None:
        np.savetxt(folder / NAME, _vectors(trained), fmt="%.9g")

    def verify(self, folder: Path, trained: TrainedModel) -> dict[str, Any]:
        difference = float(np.abs(np.loadtxt(folder / NAME) - _vectors(trained)).max())
        if difference > 1e-6:
            raise RuntimeError(f"the vectors differ by {difference}")
        return {"largest_difference": difference}

    def facts(self, trained: TrainedModel) -> CardFacts:
        return CardFacts(f"`{NAME}` holds a line for each token.")


def _vectors(trained: TrainedModel) -> np.ndarray:
    return trained.model.family.word_embeddings.detach().float().numpy()
