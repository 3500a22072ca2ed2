"""A folder of class folders, as those of IMDb -> rows: a text a file, the folder's name its
class.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ernie_cmtl.corpus.read.compression import COMPRESSIONS, DamagedFileError, has_ending
from ernie_cmtl.corpus.read.encoding_detection import encoding_hint
from ernie_cmtl.corpus.read.encodings import UTF8, open_text
from ernie_cmtl.corpus.read.inputs import FileInput, find_inputs
from ernie_cmtl.corpus.read.rows import Row, choose_columns
from ernie_cmtl.corpus.read.tables import MAXIMUM_LINE_BYTES
from ernie_cmtl.errors import UserError

TEXT, LABEL = "text", "label"
UNLABELLED = "unsup"
"""The class folder of IMDb whose texts have no label: it is passed over."""
_ENDINGS = tuple(f".txt{packed}" for packed in COMPRESSIONS)


def folder_rows(folder: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    """Yield the texts of a folder, in the order of their names, each with its running number; None
    for columns means `text` and `label`.

    Hidden files, links to folders, and files beside the class folders are passed over, as where a
    folder is an input.

    Raises:
        UnknownColumnError: A column is missing.
        UserError: There are fewer than two class folders, a folder inside of one, or a file that
            is too large, is no UTF-8 or is damaged.
    """
    chosen = choose_columns(columns or (TEXT, LABEL), (), (TEXT, LABEL), folder)
    for number, path in enumerate(_files(folder), 1):
        values = {TEXT: _text(path), LABEL: path.parent.name}
        yield number, {name: values[name] for name in chosen}


def folder_stamp(folder: Path) -> tuple[int, ...]:
    """Return what tells whether the files of a folder were changed: their number, and the sums of
    their sizes and of the times of their last changes.
    """
    stamps = [one.stamp() for one in find_inputs([str(folder)])]
    return (len(stamps), *(sum(values) for values in zip(*filter(None, stamps), strict=True)))


def _files(folder: Path) -> list[Path]:
    """Return the files of the class folders."""
    files: list[Path] = []
    root = Path(os.path.abspath(folder))
    for found in find_inputs([str(folder)]):
        if not isinstance(found, FileInput):
            continue
        parts = found.path.relative_to(root).parts
        if len(parts) > 2:
            raise UserError(
                f"{folder}: {'/'.join(parts)} lies in a folder inside of {parts[0]}; name the "
                f"folder whose folders are the classes, such as {folder / parts[0]}"
            )
        if len(parts) == 2 and parts[0] != UNLABELLED and has_ending(found.path, _ENDINGS):
            files.append(found.path)
    classes = sorted({path.parent.name for path in files})
    if len(classes) < 2:
        there = f"has one class folder, {classes[0]}" if classes else "has no class folder"
        raise UserError(
            f"{folder} {there}; a table of classes needs two or more folders of .txt files, such "
            "as pos/1.txt and neg/1.txt"
        )
    return files


def _text(path: Path) -> str:
    try:
        with open_text(path, UTF8) as stream:
            content = stream.read(MAXIMUM_LINE_BYTES + 1)
        if len(content) > MAXIMUM_LINE_BYTES:
            raise UserError(f"{path}: more than {MAXIMUM_LINE_BYTES} bytes")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} of the file is no UTF-8{encoding_hint(path)}"
        ) from error
    except DamagedFileError as error:
        raise UserError(f"{path} is damaged; {error}") from error
