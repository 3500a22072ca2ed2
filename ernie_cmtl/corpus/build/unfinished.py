"""What a build that was broken off has left in a folder: known by its own record, and removed
without touching anything else.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ernie_cmtl.atomic_files import PARTIAL, refuse_link, remove_folder, write_text
from ernie_cmtl.corpus.store.manifest import Manifest
from ernie_cmtl.errors import UserError
from ernie_cmtl.sole_writer import contents

STATE = "building"
"""Folder inside the corpus that holds the state of a build until it is done."""
_RECORD = "request.json"
_KEYS = {"fingerprint", "language", "settings", "layers", "labelled", "inputs"}
_SHARD = re.compile(rf"\d{{5,}}({re.escape(PARTIAL)})?")
_NAME = re.compile(r"[\w-]+")


def is_unfinished(folder: Path) -> bool:
    """Tell whether a folder that holds something is a build of a new corpus which was broken off,
    and nothing else.
    """
    if (read_record(folder) or {}).keys() >= _KEYS:
        return True
    # One that ended before it could write its record.
    state = folder / STATE
    return contents(folder) == {STATE} and state.is_dir() and contents(state) <= {_RECORD + PARTIAL}


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return what the unfinished build in a folder was asked for; None if there is none.

    Raises:
        UserError: It cannot be read, or is a symbolic link.
    """
    path = folder / STATE / _RECORD
    for part in (path.parent, path):
        refuse_link(part)
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged: {' '.join(str(error).split())}; if {folder / STATE} is not "
            "needed, remove it"
        ) from error
    if not isinstance(found, dict):
        raise UserError(
            f"{path} is no record of a build; if {folder / STATE} is not needed, remove it"
        )
    return found


def write_record(folder: Path, asked: Mapping[str, Any]) -> None:
    """Begin a build of what was asked for."""
    (folder / STATE).mkdir(parents=True)
    write_text(folder / STATE / _RECORD, json.dumps(asked, ensure_ascii=False, indent=1))


def has_shards(folder: Path, base: Manifest | None) -> bool:
    """Tell whether a build that was broken off has finished shards; base: the corpus that it adds
    to.
    """
    known = {shard.name for shard in base.shards} if base else set()
    shards = [path.name for path in (folder / "shards").glob("*") if _SHARD.fullmatch(path.name)]
    return any(name not in known and not name.endswith(PARTIAL) for name in shards)


def clear(folder: Path, base: Manifest | None) -> None:
    """Remove what an unfinished build has made, by the names that its record gives; base: the
    corpus that it adds to.

    Raises:
        UserError: The record is damaged, or a symbolic link stands in the way.
    """
    asked = read_record(folder) or {}
    layers, tables = (
        _names(asked.get("layers")),
        _names((asked.get("settings") or {}).get("labelled")),
    )
    kept = {shard.name: shard.hashes for shard in base.shards} if base else {}
    for shard in [path for path in (folder / "shards").glob("*") if _SHARD.fullmatch(path.name)]:
        if shard.name not in kept:
            remove_folder(shard)
            continue
        for name in [name for name in layers if name not in kept[shard.name]]:
            for ending in (".npy", ".npy" + PARTIAL):
                (shard / (name + ending)).unlink(missing_ok=True)
    made = {
        "fitted": layers - {*(base.layer_options if base else ())},
        "labelled": tables - {*(base.labelled if base else ())},
    }
    if base is None:
        made[""] = {"tokenizer"}
    for parent, names in made.items():
        for name in [name + ending for name in names for ending in ("", PARTIAL)]:
            remove_folder(folder / parent / name)
    for parent in ("shards", "fitted", "labelled"):
        if (folder / parent).is_dir() and not any((folder / parent).iterdir()):
            (folder / parent).rmdir()
    # Last, since it says what there is to remove.
    remove_folder(folder / STATE)


def _names(found: Iterable[str] | None) -> set[str]:
    # A record may come from somebody else: what it names lies in its folder.
    return {name for name in found or () if _NAME.fullmatch(name)}
