"""Layers that are fitted on the training split, frozen, and marked in every shard."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ernie_cmtl.corpus.layers import FittedLayer, Layer
from ernie_cmtl.corpus.manifest import LabelledTable, Shard
from ernie_cmtl.corpus.processes import Processes
from ernie_cmtl.files import file_hash, write_array, write_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def mark_rows(corpus: Path, layers: Mapping[str, Layer], table: LabelledTable, rows: Path) -> None:
    """Mark labelled rows with the fitted layers that have a value for each token, and note their hashes."""
    for name, layer in layers.items():
        if isinstance(layer, FittedLayer) and not layer.of_documents:
            table.hashes[name] = _Marker(name, layer, corpus / "fitted" / name)(rows)


def add_fitted_layers(
    corpus: Path,
    layers: Mapping[str, Layer],
    shards: Sequence[Shard],
    tokenizer: "PreTrainedTokenizerBase",
    workers: Processes,
) -> None:
    """Fit the layers that are new, and mark every shard that lacks one."""
    fitted = {name: layer for name, layer in layers.items() if isinstance(layer, FittedLayer)}
    waiting: list[tuple[str, list[Shard], Callable[[], list[str]]]] = []
    # Those that learn nothing come first: the other processes mark them while this one fits the others.
    for name, layer in sorted(fitted.items(), key=lambda item: type(item[1]).fit is not FittedLayer.fit):
        folder = corpus / "fitted" / name
        if not folder.exists():
            shutil.rmtree(folder.with_name(name + ".partial"), ignore_errors=True)
            write_folder(folder, partial(layer.fit, shards=shards, corpus=corpus, tokenizer=tokenizer))
        lacking = [shard for shard in shards if shard.hashes and name not in shard.hashes]
        folders = [corpus / "shards" / shard.name for shard in lacking]
        waiting.append((name, lacking, workers.start(_Marker(name, layer, folder), folders)))
    for name, lacking, answers in waiting:
        for shard, found in zip(lacking, answers(), strict=True):
            shard.hashes[name] = found


@dataclass(frozen=True)
class _Marker:
    """Writes a fitted layer of one shard, or of labelled rows, unless it is there, and returns its hash; in any process."""

    name: str
    layer: FittedLayer
    fitted: Path

    def __call__(self, shard: Path) -> str:
        path = shard / f"{self.name}.npy"
        return file_hash(path) if path.exists() else write_array(path, self.layer.mark(self.fitted, shard))
