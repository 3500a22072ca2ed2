"""A bare encoder: a vector for each text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from transformers import AutoModel, DataCollatorWithPadding, PretrainedConfig

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kinds.pairs import encode_texts, texts_of
from ernie_cmtl.finetuning.models import load_tokenizer
from ernie_cmtl.finetuning.sets.rows import LabelledRow
from ernie_cmtl.foreign_files import read_json
from ernie_cmtl.model.pooling import pooled
from ernie_cmtl.prediction.predictor import DEVICE, Answer, Predictor
from ernie_cmtl.pretrained.weights import find_file, load_weights

MODULES = "modules.json"
"""Of a folder of sentence-transformers: what follows the encoder."""
_AT_ONCE = 64
_LENGTH = 512
"""Most tokens of a text, where neither tokenizer nor config bound it."""
_OLD_POOLING = "pooling_mode_"
"""Beginning of the switches of earlier versions, such as pooling_mode_cls_token."""


class _Module(BaseModel):
    """An entry of `modules.json`."""

    path: str
    type: str


class Embeddings(Predictor):
    """Vectors of texts: the mean over their tokens, unless a folder of sentence-transformers says
    otherwise.
    """

    kind = "embeddings"

    def __init__(self, name: str, config: PretrainedConfig, columns: Mapping[str, str]) -> None:
        """Load an encoder by its name or folder.

        columns: role -> name of a column; by default `text`.

        Raises:
            UserError: It cannot be loaded, lacks weights, or pools in a way that is not known here.
        """
        if unused := [role for role in columns if role != "text"]:
            raise UserError(f"--columns {unused[0]}: an encoder without a head reads text alone")
        self.columns = {"text": "text"} | dict(columns)
        self._pooling, self._normalized = _pooling(name)
        self._tokenizer = load_tokenizer(name)
        positions = getattr(config, "max_position_embeddings", None) or _LENGTH
        self._length = min(self._tokenizer.model_max_length, positions)
        what = f"model {name!r}"
        model, missing = load_weights(AutoModel, name, what, config, dtype=torch.float32)
        # The pooler has no part in it.
        if lacking := sorted(key for key in missing if not key.startswith("pooler.")):
            raise UserError(f"{what} lacks weights of its encoder: {lacking[0]}")
        self._model = model.train(False).to(DEVICE)

    def check(self, row: LabelledRow) -> None:
        """Look at the text of a row."""
        texts_of(row)

    @torch.inference_mode()
    def answers(self, rows: Sequence[LabelledRow]) -> list[Answer]:
        """Return the vector of each text."""
        inputs = encode_texts([texts_of(row) for row in rows], self._tokenizer, self._length)
        pad = DataCollatorWithPadding(self._tokenizer)
        order = np.argsort([-len(one["input_ids"]) for one in inputs], kind="stable").tolist()
        found: list[Answer] = [{}] * len(rows)
        for start in range(0, len(order), _AT_ONCE):
            places = order[start : start + _AT_ONCE]
            batch = {
                name: value.to(DEVICE)
                for name, value in pad([inputs[place] for place in places]).items()
            }
            states = self._model(**batch).last_hidden_state.float()
            vectors = pooled(states, batch["attention_mask"], self._pooling)
            if self._normalized:
                vectors = torch.nn.functional.normalize(vectors, dim=-1)
            for place, vector in zip(places, vectors.cpu().tolist(), strict=True):
                found[place] = {"embedding": vector}
        return found


def _pooling(name: str) -> tuple[str, bool]:
    """Return how a folder pools, and whether it makes its vectors of length 1."""
    path = find_file(name, MODULES)
    if path is None:
        return "mean", False
    modules = read_json(Path(path), list[_Module])
    kinds = {module.type.rpartition(".")[2]: module.path for module in modules}
    if unknown := sorted(kinds.keys() - {"Transformer", "Pooling", "Normalize"}):
        raise UserError(
            f"{path} has a module {unknown[0]!r}; predict knows Transformer, Pooling and "
            "Normalize: use sentence-transformers for this model"
        )
    settings: dict[str, Any] = {}
    if "Pooling" in kinds and (about := find_file(name, f"{kinds['Pooling']}/config.json")):
        settings = read_json(Path(about), dict[str, Any])
    old = [key for key, on in settings.items() if key.startswith(_OLD_POOLING) and on is True]
    before = "+".join(old).removeprefix(_OLD_POOLING).removesuffix("_tokens").removesuffix("_token")
    pooling = settings.get("pooling_mode", before or "mean")
    if pooling not in ("mean", "cls", "max"):
        raise UserError(
            f"{name} pools by {pooling!r}; predict knows mean, cls and max: use "
            "sentence-transformers for this model"
        )
    return str(pooling), "Normalize" in kinds
