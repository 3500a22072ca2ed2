"""Every setting of a model of settings: name, type, default, accepted values and meaning, read off
the models themselves.
"""

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}


@dataclass(frozen=True)
class Setting:
    """One setting."""

    name: str
    """Dotted, as on the command line; NAME and N stand for a name and a number of one's own."""
    kind: str
    default: str
    meaning: str


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    """Yield every setting of a model, those of inner models too, in the order of their
    definition.
    """
    meanings = _meanings(model)
    for name, field in model.model_fields.items():
        dotted = f"{prefix}.{name}" if prefix else name
        inner, below = _inner(field.annotation)
        if inner is None or _is_also_plain(field.annotation):
            yield Setting(dotted, _kind(field), _default(field), meanings.get(name, ""))
        if inner is not None:
            yield from settings_of(inner, dotted + below)


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """Return the model that a setting holds, and what comes between their names."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        found = [_inner(argument) for argument in arguments]
        return next(((model, below) for model, below in found if model), (None, ""))
    if origin is dict:
        model, below = _inner(arguments[1])
        return model, f".NAME{below}"
    if origin in (list, tuple):
        model, below = _inner(arguments[0])
        return model, f".N{below}"
    return None, ""


def _is_also_plain(annotation: Any) -> bool:
    """Tell whether a setting may be left empty, or hold something else than a model."""
    arguments = get_args(annotation)
    return get_origin(annotation) in (Union, types.UnionType) and len(arguments) > 1


def _kind(field: FieldInfo) -> str:
    return ", ".join([_type(field.annotation), *_bounds(field)])


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is types.NoneType:
        return "none"
    if origin is Literal:
        return " or ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_type, arguments)))
    if origin is dict:
        return f"name: {_type(arguments[1])}"
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _type(arguments[0])
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "settings below"
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _bounds(field: FieldInfo) -> Iterator[str]:
    for bound in field.metadata:
        for kind, attribute, words in (
            (Ge, "ge", "at least {}"),
            (Gt, "gt", "above {}"),
            (Le, "le", "at most {}"),
            (Lt, "lt", "below {}"),
            (MinLen, "min_length", "at least {} of them"),
            (MaxLen, "max_length", "at most {} of them"),
        ):
            if isinstance(bound, kind):
                yield words.format(getattr(bound, attribute))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple | dict):
        return str(list(value)) if value and not isinstance(value, dict) else "empty"
    return str(value)


@cache
def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return field -> the string below it in the class, or in one that it derives from."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if not issubclass(owner, BaseModel) or owner is BaseModel:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(tree, ast.ClassDef)
        for field, after in zip(tree.body, tree.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                found[field.target.id] = " ".join(after.value.value.split())
    return found
