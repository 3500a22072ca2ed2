"""Which files a dataset takes its text from: a folder may come from others, and names only files of
its own.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ernie_cmtl.corpus.read.rows import some
from ernie_cmtl.errors import UserError
from ernie_cmtl.foreign_files import read_json

SPLITS, STATE = "dataset_dict.json", "state.json"


def check_data_files(files: Iterable[str], folder: Path | None, label: str) -> None:
    """Refuse files that lie elsewhere than the dataset: outside of its folder, also by a link, or
    on this machine where the dataset is on the Hub.

    files: paths and addresses as `datasets` resolves them; folder: None for a dataset of the Hub.

    Raises:
        UserError: There are some.
    """
    # Of `zip://a.txt::/folder/b.zip`, the last part is the file.
    places = dict.fromkeys(file.rpartition("::")[2] for file in files)
    if folder is None:
        wrong = [place for place in places if "://" not in place or place.startswith("file://")]
        whose = "files of this machine"
    else:
        roots = _roots(folder)
        wrong = [place for place in places if "://" in place or not _inside(Path(place), roots)]
        whose = f"files outside of {folder}"
    if wrong:
        raise UserError(
            f"{label} names {whose}: {some(wrong)}; a dataset may only name files of its own (copy "
            "them into it, or name them yourself with --input or data_files=FILES)"
        )


def check_saved_files(folder: Path, label: str) -> None:
    """Refuse what save_to_disk did not write: splits and files outside of the folder.

    Raises:
        UserError: There are some, or the lists of them cannot be read.
    """
    folders = [folder]
    if (folder / SPLITS).is_file():
        names = read_json(folder / SPLITS, dict[str, Any]).get("splits")
        folders = [folder / str(name) for name in names] if isinstance(names, list) else []
    files = [str(file) for place in folders for file in [place / STATE, *_named(place)]]
    check_data_files(files, folder, label)


def _named(folder: Path) -> Iterator[Path]:
    """Yield the files that the state of one saved dataset names."""
    if (folder / STATE).is_file():
        for value in read_json(folder / STATE, dict[str, Any]).values():
            for item in value if isinstance(value, list) else []:
                if isinstance(item, dict) and isinstance(item.get("filename"), str):
                    yield folder / item["filename"]


def _roots(folder: Path) -> list[Path]:
    """Return the folders that a dataset's files may lie in."""
    real = folder.resolve()
    blobs = real.parent.parent / "blobs"
    # A snapshot in the cache of the Hub holds links to the files beside it.
    is_snapshot = real.parent.name == "snapshots" and blobs.is_dir() and blobs.resolve() == blobs
    return [real, *([blobs] if is_snapshot else [])]


def _inside(path: Path, roots: list[Path]) -> bool:
    real = Path(os.path.realpath(path))
    return any(root in real.parents for root in roots)
