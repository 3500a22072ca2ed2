"""Words of the user -> files and datasets to read."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ernie_cmtl.corpus.read.compression import COMPRESSIONS
from ernie_cmtl.corpus.read.hub_datasets import (
    PREFIX,
    DatasetInput,
    dataset_hint,
    is_saved_dataset,
    parse_dataset,
)
from ernie_cmtl.corpus.read.tables import TABLES
from ernie_cmtl.errors import UserError

SUFFIXES = (*(f".txt{packed}" for packed in COMPRESSIONS), *TABLES)


@dataclass(frozen=True, order=True, slots=True)
class FileInput:
    """A file of text."""

    path: Path
    encoding: str | None = field(default=None, compare=False)
    """What it was found to be in, so that all readings see the same text; None: not looked up."""

    @property
    def name(self) -> str:
        """The short name that the identifiers of its documents begin with."""
        return self.path.name

    @property
    def label(self) -> str:
        """The full name, for messages and logs."""
        return str(self.path)

    def stamp(self) -> tuple[int, ...]:
        """Return what tells whether the file was changed: size and time of its last change; nothing
        if it is not there.
        """
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return ()
        return status.st_size, status.st_mtime_ns

    def inside(self, folder: Path) -> bool:
        """Tell whether the file lies in a folder."""
        return folder in self.path.parents


Input = FileInput | DatasetInput
"""What one word of the user's names, or one of the files that it names."""


def find_inputs(words: list[str]) -> list[Input]:
    """Return what paths, folders (searched recursively), globs and `datasets:NAME` name, sorted and
    without repetition.

    Raises:
        UserError: A path does not exist, has an unknown ending, or holds no text file; a dataset is
            not written as it should be, or is not known to the Hugging Face Hub, or that cannot be
            reached.
    """
    named = [word for word in words if word.startswith(PREFIX)]
    files = {FileInput(file) for word in words if word not in named for file in _find_files(word)}
    return [*sorted(files), *sorted({parse_dataset(word) for word in named})]


def _find_files(word: str) -> Iterator[Path]:
    path = Path(word).expanduser()
    if path.is_dir():
        files = [p for p in path.rglob("*") if p.is_file() and _suffix(p)]
        if not files:
            hint = (
                f"; as save_to_disk wrote it, it is written {PREFIX}{word}"
                if is_saved_dataset(path)
                else ""
            )
            raise UserError(
                f"no text in folder {word}: it holds no file ending in {', '.join(SUFFIXES)}{hint}"
            )
    elif path.is_file():
        if not _suffix(path):
            raise UserError(f"cannot read {word}: its ending is none of {', '.join(SUFFIXES)}")
        files = [path]
    else:
        files = [
            p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file() and _suffix(p)
        ]
        if not files:
            raise UserError(f"no such file, folder or glob: {word}{dataset_hint(word)}")
    # Not resolved: the name of a link says what it holds, the name of its target may not.
    yield from (Path(os.path.abspath(file)) for file in files)


def _suffix(path: Path) -> bool:
    return path.name.endswith(SUFFIXES)
