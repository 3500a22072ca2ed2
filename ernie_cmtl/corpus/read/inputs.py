"""Words of the user -> files and datasets to read."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ernie_cmtl.corpus.read.compression import COMPRESSIONS, has_ending
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
HIDDEN, NO_FILE = "hidden", "no file"
_MOST_ENDINGS, _LONGEST_ENDING = 50, 16


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


def find_inputs(words: list[str], skipped: Counter[str] | None = None) -> list[Input]:
    """Return what paths, folders (searched recursively), globs and `datasets:NAME` name, sorted and
    without repetition.

    skipped: takes how many entries of folders and globs were passed over, for each ending, and
    those that are `HIDDEN` (files or folders) or `NO_FILE`.

    Raises:
        UserError: A path does not exist, has an unknown ending, holds no text file, or cannot be
            read; a dataset is not written as it should be, or is not known to the Hugging Face Hub,
            or that cannot be reached.
    """
    skipped = Counter() if skipped is None else skipped
    named = [word for word in words if word.startswith(PREFIX)]
    others = [word for word in words if word not in named]
    # Not resolved: the name of a link says what it holds, the name of its target may not.
    files = {
        FileInput(Path(os.path.abspath(file)))
        for word in others
        for file in _find_files(word, skipped)
    }
    return [*sorted(files), *sorted({parse_dataset(word) for word in named})]


def describe_skipped(skipped: Mapping[str, int]) -> str:
    """Say what was passed over; empty where nothing was."""
    endings = Counter({k: v for k, v in skipped.items() if k not in (HIDDEN, NO_FILE)})
    listed = ", ".join(f"{ending} {count:,}" for ending, count in endings.most_common())
    parts = [
        f"with other endings {endings.total():,} ({listed})" if endings else "",
        f"hidden {skipped[HIDDEN]:,}" if skipped.get(HIDDEN) else "",
        f"no files but links to folders, pipes or the like {skipped[NO_FILE]:,}"
        if skipped.get(NO_FILE)
        else "",
    ]
    return ", ".join(filter(None, parts))


def _find_files(word: str, skipped: Counter[str]) -> list[Path]:
    path = Path(word).expanduser()
    passed: Counter[str] = Counter()
    if path.is_dir():
        files = _kept(_entries(path, passed), passed)
        if not files:
            hint = (
                f"; as save_to_disk wrote it, it is written {PREFIX}{word}"
                if is_saved_dataset(path)
                else ""
            )
            there = f"; passed over: {describe_skipped(passed)}" if passed else ""
            raise UserError(
                f"no text in folder {word}: it holds no file ending in {', '.join(SUFFIXES)}"
                f"{there}{hint}"
            )
    elif path.is_file():
        files = [path]
        if not has_ending(path, SUFFIXES):
            raise UserError(f"cannot read {word}: its ending is none of {', '.join(SUFFIXES)}")
    else:
        files = _kept(map(Path, glob.glob(str(path), recursive=True)), passed)
        if not files:
            raise UserError(f"no such file, folder or glob: {word}{dataset_hint(word)}")
    skipped.update(passed)
    return files


def _entries(folder: Path, passed: Counter[str]) -> Iterator[Path]:
    """Yield what lies in a folder and below, but for what is hidden."""

    def fail(error: OSError) -> None:
        raise UserError(f"cannot read folder {error.filename}: {error.strerror}") from error

    for place, folders, names in os.walk(folder, onerror=fail):
        passed[HIDDEN] += sum(name.startswith(".") for name in [*folders, *names])
        folders[:] = [name for name in folders if not name.startswith(".")]
        # Links to folders are not followed: they may lead in a circle.
        linked = [name for name in folders if Path(place, name).is_symlink()]
        yield from (Path(place, name) for name in [*linked, *names] if not name.startswith("."))


def _kept(paths: Iterable[Path], passed: Counter[str]) -> list[Path]:
    """Return the files that can be read, and count the others."""
    kept = []
    for path in paths:
        if not path.is_file():
            passed[NO_FILE] += 1
        elif has_ending(path, SUFFIXES):
            kept.append(path)
        else:
            ending = _ending(path)
            passed[ending if ending in passed or len(passed) < _MOST_ENDINGS else "others"] += 1
    # What is counted with 0 is not there.
    passed += Counter()
    return kept


def _ending(path: Path) -> str:
    """Return the ending of a name, that of its packing included, in small letters."""
    name = Path(path.name.lower())
    packing = name.suffix if name.suffix in COMPRESSIONS else ""
    ending = Path(name.stem if packing else name).suffix + packing
    return ending if 0 < len(ending) <= _LONGEST_ENDING else "no ending"
