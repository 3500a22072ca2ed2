"""What a build was asked for, kept in the folder while it runs, so that the same command goes on
where it was broken off.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ernie_cmtl.corpus.build.make_layers import layers_without_text, make_layers
from ernie_cmtl.corpus.build.prepare_config import ADDABLE, DEFAULT_LAYERS, PrepareConfig
from ernie_cmtl.corpus.build.unfinished import (
    STATE,
    clear,
    has_shards,
    is_unfinished,
    read_record,
    write_record,
)
from ernie_cmtl.corpus.layers import Layer
from ernie_cmtl.corpus.read.inputs import FileInput
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.read.sources import SourceInput, check_mixture, find_sources
from ernie_cmtl.corpus.store.manifest import MANIFEST, Manifest, read_manifest
from ernie_cmtl.corpus.tokens.titles import TITLES
from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.records import Language
from ernie_cmtl.sole_writer import contents


@dataclass(frozen=True)
class Request:
    """What one call of prepare is to do to a folder."""

    folder: Path
    language: Language
    config: PrepareConfig
    inputs: list[SourceInput]
    base: Manifest | None
    """The corpus that is added to; none for a new one."""
    layers: dict[str, Layer]
    """Every layer that the corpus will have, but for those that the tokens bring along."""
    skipped: Counter[str] = field(default_factory=Counter)
    """What was passed over in folders: ending, or why -> count."""

    @property
    def state(self) -> Path:
        """Folder that holds the state of the build."""
        return self.folder / STATE

    @property
    def new_layers(self) -> list[str]:
        """Layers that are to be made for the whole text."""
        return [
            name for name in self.layers if not self.base or name not in self.base.layer_options
        ]

    @property
    def keeps_titles(self) -> bool:
        """Will every document have a row for its title."""
        return (
            TITLES in self.base.layers
            if self.base
            else bool(self.inputs) and self.config.reader.title_field is not None
        )

    @property
    def first_document(self) -> int:
        """Running number of the first document that is read now."""
        return self.base.documents["read"] if self.base else 0

    def describe(self) -> dict[str, Any]:
        """Return all that decides what is built."""
        return {
            "fingerprint": self.base.fingerprint if self.base else None,
            "language": self.language,
            "settings": self.config.model_dump(mode="json", exclude={"layers"}),
            "layers": {
                name: [layer.options.model_dump(mode="json"), _stamps(layer.files)]
                for name, layer in self.layers.items()
            },
            "labelled": [table.stamp() for table in self.config.labelled.values()],
            "inputs": [
                [item.source, item.input.label, list(item.input.stamp())] for item in self.inputs
            ],
        }


def new_corpus(
    words: Sequence[str], folder: Path, language: Language, config: PrepareConfig
) -> Request:
    """Ask for a corpus out of raw text, labelled rows, or both.

    Raises:
        UserError: A path, layer or mixture that cannot be used, an output folder that holds
            something else, or nothing to make a corpus of.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder} is a file; name a folder")
    if (folder / MANIFEST).exists():
        raise UserError(
            f"{folder} holds a corpus already; add to it with --corpus {folder}, or choose "
            "another --output"
        )
    if contents(folder) and not is_unfinished(folder):
        raise UserError(f"{folder} is not empty and no build of a corpus; choose another --output")
    skipped: Counter[str] = Counter()
    inputs = _inputs(words, folder, skipped)
    if not (inputs or config.labelled):
        raise UserError(
            "no input: name at least one file, folder, glob or dataset with --input, or labelled "
            "rows with --labelled"
        )
    check_mixture(config.mixture, sorted({item.source for item in inputs}))
    _check_policies(config.reader, inputs)
    named = (
        {name: {} for name in DEFAULT_LAYERS[language]} if config.layers is None else config.layers
    )
    layers = make_layers(named, language)
    if not inputs:
        layers = layers_without_text(layers, asked=config.layers is not None)
    return Request(folder, language, config, inputs, None, layers, skipped)


def added_to(words: Sequence[str], folder: Path, config: PrepareConfig) -> Request:
    """Ask for text, layers or labelled rows to be added to a corpus.

    Raises:
        UserError: There is no corpus, what is asked for cannot be used, or it is there already.
    """
    base = read_manifest(folder)
    if taken := [name for name in config.layers or {} if name in base.layers]:
        raise UserError(
            f"corpus {folder} has layer {', '.join(taken)} already; it has {', '.join(base.layers)}"
        )
    if taken := [name for name in config.labelled if name in base.labelled]:
        raise UserError(f"corpus {folder} has labelled rows named {', '.join(taken)} already")
    if config.reader.title_field and TITLES not in base.layers:
        raise UserError(
            f"corpus {folder} was prepared without titles: reader.title_field cannot be set for "
            "what is added to it"
        )
    skipped: Counter[str] = Counter()
    inputs = _inputs(words, folder, skipped)
    if not (inputs or config.layers or config.labelled):
        raise UserError(
            "nothing to add: name text with --input, layers with --layers, or labelled rows with "
            "--labelled"
        )
    if config.layers and not (inputs or base.sources):
        raise UserError(
            f"corpus {folder} holds labelled rows alone, which keep the layers that they were "
            "stored with: name text with --input too, or prepare another corpus with --labelled "
            "and --layers"
        )
    sources = sorted({*base.sources, *(item.source for item in inputs)})
    check_mixture(config.mixture if config.mixture is not None else base.mixture, sources)
    _check_policies(config.reader, inputs)
    settings = {name: base.settings[name] for name in base.settings if name not in ADDABLE}
    merged = PrepareConfig.model_validate(
        settings | config.model_dump(mode="json", include=set(ADDABLE))
    )
    layers = make_layers(base.layer_options | (config.layers or {}), base.language)
    return Request(folder, base.language, merged, inputs, base, layers, skipped)


def _inputs(words: Sequence[str], folder: Path, skipped: Counter[str]) -> list[SourceInput]:
    """Return the inputs that do not lie inside the corpus itself."""
    inside = Path(os.path.abspath(folder))
    found = find_sources(words, skipped)
    kept = [item for item in found if not item.input.inside(inside)]
    if found and not kept:
        raise UserError(f"no input outside of {folder}")
    return kept


def _check_policies(reader: ReaderConfig, inputs: Sequence[SourceInput]) -> None:
    sources = sorted({item.source for item in inputs})
    for setting in ("source_errors", "source_encodings"):
        if unknown := [name for name in getattr(reader, setting) if name not in sources]:
            raise UserError(
                f"reader.{setting} names {', '.join(unknown)}; "
                f"{choices(unknown[0], sources, 'sources that are read are')}"
            )


def _stamps(files: Iterable[str]) -> list[tuple[int, ...]]:
    """Return what tells whether files were changed."""
    return [FileInput(Path(file).expanduser()).stamp() for file in files]


def check_unchanged(request: Request) -> None:
    """Refuse a corpus that another process has made, or added to, since the request was made.

    Raises:
        UserError: It has.
    """
    there = (request.folder / MANIFEST).exists()
    now = read_manifest(request.folder) if there else None
    if now != request.base:
        raise UserError(
            f"corpus {request.folder} was changed by another process meanwhile; repeat the command"
        )


def begin(request: Request, restart: bool) -> dict[str, Any]:
    """Take the folder for a build, a new one or one that was broken off, and return what was asked
    for.

    Raises:
        UserError: The folder holds an unfinished build of something else, and `restart` does not
            give it up.
    """
    asked: dict[str, Any] = json.loads(json.dumps(request.describe()))
    before = None if restart else read_record(request.folder)
    if before == asked:
        return asked
    # What has not finished a shard yet is no loss.
    if before is not None and has_shards(request.folder, request.base):
        raise UserError(
            f"{request.folder} holds an unfinished build with other {_difference(before, asked)}; "
            "finish it with the command that began it, or give it up with --restart"
        )
    clear(request.folder, request.base)
    write_record(request.folder, asked)
    return asked


def changed_files(asked: dict[str, Any], request: Request) -> list[str]:
    """Return the inputs, and the names of labelled rows and layers, whose files are not what they
    were when a build began.
    """
    now = json.loads(json.dumps(request.describe()))
    inputs = [
        label
        for (_, label, before), (_, _, found) in zip(asked["inputs"], now["inputs"], strict=True)
        if before != found
    ]
    tables = request.config.labelled
    rows = [
        name
        for name, before, found in zip(tables, asked["labelled"], now["labelled"], strict=True)
        if before != found
    ]
    layers = [
        name for name, described in now["layers"].items() if described != asked["layers"][name]
    ]
    return [*inputs, *(f"labelled.{name}" for name in rows), *(f"layers.{name}" for name in layers)]


def give_up(request: Request) -> None:
    """Leave a folder as it was before a build that came to nothing: one without a finished
    shard.
    """
    if not has_shards(request.folder, request.base):
        clear(request.folder, request.base)


def _difference(before: Any, asked: Any, path: str = "") -> str:
    """Name the first settings that differ."""
    if isinstance(before, dict) and isinstance(asked, dict):
        keys = sorted({*before, *asked})
        return ", ".join(
            _difference(before.get(k), asked.get(k), f"{path}.{k}".lstrip("."))
            for k in keys
            if before.get(k) != asked.get(k)
        )
    if path == "inputs":
        changed = [row[1] for row in [*asked, *before] if row not in before or row not in asked]
        return f"inputs ({', '.join(dict.fromkeys(changed))})"
    return f"{path} ({before!r}, not {asked!r})"
