"""Where the corpus of a run lies, as the run folder says it: the two may move together or apart."""

import os
from pathlib import Path

from ernie_cmtl.corpus.store.manifest import MANIFEST
from ernie_cmtl.foreign_files import exists


def written_place(folder: Path, corpus: Path) -> str:
    """Return what the configuration in a run folder says of its corpus: a path from the folder to
    it where both lie under a common folder other than the root, else an absolute one.
    """
    here, there = folder.resolve(), corpus.resolve()
    common = Path(os.path.commonpath([here, there]))
    return str(there) if common == Path(common.anchor) else os.path.relpath(there, here)


def found_place(folder: Path, written: str, last: str | None) -> Path:
    """Return where a corpus is, from what `written_place` once gave.

    last: its absolute path when the run last trained, which finds it after the run alone has moved.
    """
    places = [(folder / written).resolve(), *([Path(last)] if last else [])]
    return next((place for place in places if exists(place / MANIFEST)), places[0])
