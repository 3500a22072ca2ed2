"""The folder of an export: files that an earlier export wrote are replaced, all else in it stays as
it is.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ernie_cmtl.atomic_files import PARTIAL, file_hash, remove_folder, sync, write_text
from ernie_cmtl.errors import UserError
from ernie_cmtl.sole_writer import contents, refuse_links, sole_writer

SUMS = "SHA256SUMS"
"""What an export wrote into its folder, as `sha256sum -c` reads it."""
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
_LAST = "config.json"
"""Without it no program takes the folder for a model, so it comes last."""


@contextmanager
def export_folder(output: Path) -> Iterator[Path]:
    """Yield a folder to fill; once the block has ended without an error, its files stand in
    `output`.

    Raises:
        UserError: The output is a file or a link, or holds what no export wrote: other files alone,
            a file of the name of a new one, or a file that was changed since; or another process
            writes there.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file; name a folder")
    with sole_writer(output, (SUMS,)) as writer:
        before = written_files(output)
        _check(output, before)
        partial = output / PARTIAL
        try:
            remove_folder(partial)
            partial.mkdir()
            yield partial
            names = sorted(
                path.relative_to(partial).as_posix()
                for path in partial.rglob("*")
                if path.is_file()
            )
            # Filling it took a while.
            _check(output, before)
            if taken := [
                name for name in names if name not in before and os.path.lexists(output / name)
            ]:
                raise UserError(
                    f"{output / taken[0]} was not written by an export; move it, or choose "
                    "another --output"
                )
            writer.check()
            _replace(output, partial, before, names)
        finally:
            remove_folder(partial)


def written_files(output: Path) -> dict[str, str]:
    """Return the files that an export wrote into its folder, with their hashes.

    Raises:
        UserError: There is something, but no export; or its list is damaged.
    """
    path = output / SUMS
    if not path.is_file():
        if contents(output) - {PARTIAL}:
            raise UserError(
                f"{output} is not empty and no earlier export: it has no {SUMS}; choose another "
                "--output"
            )
        return {}
    found: dict[str, str] = {}
    for line in path.read_bytes().decode(errors="replace").splitlines():
        match = _LINE.fullmatch(line)
        name = PurePosixPath(match[2]) if match else None
        if not match or not name or name.is_absolute() or ".." in name.parts:
            raise UserError(f"{path} is no list of an export's files; choose another --output")
        found[match[2]] = match[1]
    return found


def _check(output: Path, written: Mapping[str, str]) -> None:
    """Refuse a folder in which a file of an earlier export is a link, or was changed since."""
    refuse_links(output, {PurePosixPath(name).parts[0] for name in (*written, PARTIAL)})
    for name, expected in written.items():
        path = output / name
        if path.exists() and (not path.is_file() or file_hash(path) != expected):
            raise UserError(
                f"{path} was changed since it was exported; move it, or choose another --output"
            )


def _replace(output: Path, partial: Path, before: Mapping[str, str], names: list[str]) -> None:
    """Put files into the place of older ones; broken off, it leaves nothing that the next export
    would not replace.
    """
    sums = "".join(f"{file_hash(partial / name)}  {name}\n" for name in names)
    for name in names:
        sync(partial / name)
    # The list always names all that is there: what it names and is missing does no harm.
    for name in sorted(before, key=lambda name: name != _LAST):
        (output / name).unlink(missing_ok=True)
    write_text(output / SUMS, sums)
    for name in sorted(names, key=lambda name: name == _LAST):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).rename(output / name)
    sync(output)
