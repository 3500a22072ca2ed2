"""Layers that are fitted on the training split, frozen, and marked in every shard."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ernie_cmtl.atomic_files import file_hash, write_array, write_folder
from ernie_cmtl.corpus.build.executor import Processes
from ernie_cmtl.corpus.layers import FittedLayer, Layer
from ernie_cmtl.corpus.store.manifest import LabelledTable, Shard
from ernie_cmtl.records import Vocabulary


def mark_rows(corpus: Path, layers: Mapping[str, Layer], table: LabelledTable, rows: Path) -> None:
    """Mark labelled rows with the fitted layers that have a value for each token, and note their
    hashes.
    """
    for name, layer in layers.items():
        if isinstance(layer, FittedLayer) and not layer.of_documents:
            table.hashes[name] = _Marker(name, layer, corpus / "fitted" / name)(rows)


def add_fitted_layers(
    corpus: Path,
    layers: Mapping[str, Layer],
    shards: Sequence[Shard],
    vocabulary: Vocabulary,
    workers: Processes,
) -> None:
    """Fit the layers that are new, and mark every shard that lacks one."""
    markers = [
        _Marker(name, layer, corpus / "fitted" / name)
        for name, layer in layers.items()
        if isinstance(layer, FittedLayer)
    ]
    # Those that learn are begun first and awaited last: while one process fits, the others mark
    # what is fitted already.
    markers.sort(key=lambda marker: not marker.layer.learns)
    fits = [
        workers.start(_Fitter(marker.layer, shards, corpus, vocabulary), [marker.fitted])
        for marker in markers
    ]
    waiting: list[tuple[str, list[Shard], Callable[[], list[str]]]] = []
    for marker, fit in reversed(list(zip(markers, fits, strict=True))):
        fit()
        lacking = [shard for shard in shards if shard.hashes and marker.name not in shard.hashes]
        waiting.append(
            (
                marker.name,
                lacking,
                workers.start(marker, [corpus / "shards" / shard.name for shard in lacking]),
            )
        )
    for name, lacking, answers in waiting:
        for shard, found in zip(lacking, answers(), strict=True):
            shard.hashes[name] = found


@dataclass(frozen=True)
class _Fitter:
    """Fits a layer and writes what it learned to a folder, unless that is there; in any process."""

    layer: FittedLayer
    shards: Sequence[Shard]
    corpus: Path
    vocabulary: Vocabulary

    def __call__(self, folder: Path) -> None:
        if not folder.exists():
            write_folder(
                folder,
                partial(
                    self.layer.fit,
                    shards=self.shards,
                    corpus=self.corpus,
                    vocabulary=self.vocabulary,
                ),
            )


@dataclass(frozen=True)
class _Marker:
    """Writes a fitted layer of one shard, or of labelled rows, unless it is there, and returns its
    hash; in any process.
    """

    name: str
    layer: FittedLayer
    fitted: Path

    def __call__(self, shard: Path) -> str:
        path = shard / f"{self.name}.npy"
        return (
            file_hash(path)
            if path.exists()
            else write_array(path, self.layer.mark(self.fitted, shard))
        )
