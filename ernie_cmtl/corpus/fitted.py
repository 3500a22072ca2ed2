"""Layers that are fitted on the training split, frozen, and marked in every shard."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ernie_cmtl.corpus.files import file_hash, write_array, write_folder
from ernie_cmtl.corpus.layers import FittedLayer, Layer
from ernie_cmtl.corpus.manifest import Shard
from ernie_cmtl.corpus.processes import Processes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def add_fitted_layers(
    corpus: Path,
    layers: Mapping[str, Layer],
    shards: Sequence[Shard],
    tokenizer: "PreTrainedTokenizerBase",
    workers: Processes,
) -> None:
    """Fit the layers that are new, and mark every shard that lacks one."""
    for name, layer in layers.items():
        if not isinstance(layer, FittedLayer):
            continue
        folder = corpus / "fitted" / name
        if not folder.exists():
            shutil.rmtree(folder.with_name(name + ".partial"), ignore_errors=True)
            write_folder(folder, partial(layer.fit, shards=shards, corpus=corpus, tokenizer=tokenizer))
        lacking = [shard for shard in shards if shard.hashes and name not in shard.hashes]
        folders = [corpus / "shards" / shard.name for shard in lacking]
        for shard, found in zip(lacking, workers.map(_Marker(name, layer, folder), folders), strict=True):
            shard.hashes[name] = found


@dataclass(frozen=True)
class _Marker:
    """Writes a fitted layer of one shard, unless it is there, and returns its hash; runs in the worker processes."""

    name: str
    layer: FittedLayer
    fitted: Path

    def __call__(self, shard: Path) -> str:
        path = shard / f"{self.name}.npy"
        return file_hash(path) if path.exists() else write_array(path, self.layer.mark(self.fitted, shard))
