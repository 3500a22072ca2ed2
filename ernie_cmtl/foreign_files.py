"""The door for files that others may have made: their content is compared with a schema before it
is used, and what does not fit is named.
"""

import errno
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Array

Content = TypeVar("Content")


def read_json(path: Path, schema: type[Content]) -> Content:
    """Read a JSON file of a known form.

    schema: a type that pydantic knows.

    Raises:
        UserError: The file cannot be read, is no JSON, or says something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    return parse_json(text, schema, str(path))


def exists(path: Path) -> bool:
    """Tell whether there is such a file or folder, also where its name, which came from a file, is
    longer than the file system takes.
    """
    try:
        return path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def parse_json(text: str, schema: type[Content], name: str) -> Content:
    """Return what a JSON text of a known form says; name: of its file, for messages.

    Raises:
        UserError: It is no JSON, or says something else.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is damaged: {error}") from error
    return checked(found, schema, name)


def checked(value: Any, schema: type[Content], name: str) -> Content:
    """Return a value of JSON as a type.

    Raises:
        UserError: It is none; the message says which key is wrong.
    """
    try:
        return TypeAdapter(schema).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "its content"
        raise UserError(
            f"{name} is damaged or of another version: {place}: {problem['msg']}"
        ) from error


def check_array(array: Array, path: Path, kinds: str, shape: tuple[int | None, ...]) -> None:
    """Compare an array with what its place needs.

    kinds: letters of `dtype.kind` that are accepted; shape: None stands for any size.

    Raises:
        UserError: It has another dtype or shape.
    """
    fits = len(shape) == array.ndim and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if array.dtype.kind not in kinds or not array.dtype.isnative or not fits:
        wanted = ["any" if size is None else size for size in shape]
        raise UserError(
            f"{path} is damaged: it holds {array.dtype.str} {list(array.shape)}; needed are "
            f"{' or '.join(_KINDS[kind] for kind in kinds)} {wanted}"
        )


_KINDS = {"b": "booleans", "u": "unsigned integers", "i": "integers", "f": "floats"}
