"""Settings as people write them -> checked models, with messages that name the bad key or value and
the accepted ones.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc
from pydantic import BaseModel, ValidationError

from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.redaction import redactor

Config = TypeVar("Config", bound=BaseModel)
_DEEPEST = 50
"""Levels of a file of settings; those that are known need far fewer."""
VARIABLES = (
    "HOME",
    "USER",
    "HOSTNAME",
    "PWD",
    "TMPDIR",
    "SCRATCH",
    "SLURM_JOB_ID",
    "SLURM_JOB_NAME",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_TMPDIR",
)
"""Variables of the environment that settings may name as `${oc.env:NAME}`, beside those that begin
with `PREFIX`. What is read is written to files, and any other may hold a secret.
"""
PREFIX = "ERNIE_CMTL_"


def load(
    model: type[Config],
    path: Path,
    overrides: Sequence[str] = (),
    translate: Callable[[Any], Any] = lambda settings: settings,
) -> Config:
    """Read a YAML file of settings, apply `key.sub=value` overrides and validate.

    translate: gives what the file holds, before the overrides, the keys of today.

    Raises:
        UserError: The file cannot be read, a key is unknown, or a value is not accepted.
    """
    if not path.is_file():
        raise UserError(f"no config file {path}")
    try:
        _check_depth(path)
        loaded = OmegaConf.to_container(OmegaConf.load(path))
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path} holds no mapping of settings")
    return validate(model, translate(loaded), overrides, str(path))


def _check_depth(path: Path) -> None:
    """Refuse a file of which the parser would overflow its stack."""
    depth = 0
    with path.open(encoding="utf-8") as stream:
        for event in yaml.parse(stream, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(
                event, yaml.CollectionEndEvent
            )
            if depth > _DEEPEST:
                raise yaml.YAMLError(f"it is nested more than {_DEEPEST} deep")


def validate(model: type[Config], base: Any, overrides: Sequence[str], where: str) -> Config:
    """Merge overrides into settings and validate them against a model.

    Raises:
        UserError: An override is malformed, a key is unknown (the message lists the accepted ones),
            a value is not accepted or looks like a secret, or a variable of the environment may
            not be read.
    """
    if malformed := [item for item in overrides if "=" not in item or item.startswith("-")]:
        raise UserError(f"override {malformed[0]!r} is not of the form key.sub=value")
    try:
        with _few_variables():
            settings = OmegaConf.to_container(_overridden(base, overrides), resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError, TypeError) as error:
        if refused := _user_error(error):
            raise UserError(f"{where}: {refused}") from error
        raise UserError(
            f"{where} with {' '.join(overrides)}: {' '.join(str(error).split())}"
        ) from error
    if secret := next(_secrets("", settings, redactor()), None):
        raise UserError(
            f"{where}: {secret} holds what looks like a secret, and settings are written to "
            "files; use the environment"
        )
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise UserError(explain(error, model, where)) from error


def _overridden(base: Any, overrides: Sequence[str]) -> Any:
    """Return settings with overrides on top; `key={}` empties a mapping, all else is merged."""
    merged = OmegaConf.merge(base)
    for item in overrides:
        key, _, value = item.partition("=")
        if value.strip() == "{}":
            OmegaConf.update(merged, key, {}, merge=False, force_add=True)
        else:
            merged = OmegaConf.merge(merged, OmegaConf.from_dotlist([item]))
    return merged


@contextmanager
def _few_variables() -> Iterator[None]:
    """Let settings read no variable of the environment but those that they may name."""
    # Where they are read, since a name may itself be put together; and only meanwhile, since the
    # library belongs to the whole process.
    OmegaConf.register_resolver("oc.env", _variable, replace=True, annotation_validation="off")
    try:
        yield
    finally:
        OmegaConf.register_resolver("oc.env", oc.env, replace=True, annotation_validation="off")


def _variable(name: Any, *default: Any) -> str | None:
    name = str(name)
    if name not in VARIABLES and not name.startswith(PREFIX):
        raise UserError(
            f"${{oc.env:{name}}} is not read: settings are written to files, and {name} may hold a "
            f"secret. Settings may read {', '.join(VARIABLES)} and {PREFIX}...; if it holds none, "
            f"set {PREFIX}{name} to the same value and name that"
        )
    return oc.env(name, *default)


def _user_error(error: BaseException | None) -> UserError | None:
    """Return the error that a resolver raised and the library has wrapped, if it is one of ours."""
    while error:
        if isinstance(error, UserError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _secrets(name: str, value: Any, hide: Callable[[str], str]) -> Iterator[str]:
    """Yield the keys of nested settings that hold a secret."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in inner:
        yield from _secrets(f"{name}.{key}" if name else str(key), part, hide)
    if hide(name) != name or (isinstance(value, str) and hide(value) != value):
        yield hide(name)


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """Put a validation error into lines that name each bad key or value and what is accepted."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown key {key!r}; {_in_its_place(model, problem['loc'])}")
        elif problem["type"] == "missing":
            lines.append(f"key {key!r} is missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            got = "" if problem["type"] == "value_error" else f" (got {problem['input']!r})"
            lines.append(f"{key}: {message}{got}" if key else message)
    return f"{where}: " + "; ".join(lines)


def _in_its_place(model: type[BaseModel], location: Sequence[int | str]) -> str:
    """Say what an unknown key is called now, or which keys are accepted there."""
    *place, name = map(str, location)
    inner = _model_at(model, place)
    if renamed := getattr(inner, "RENAMED", {}).get(name):
        return f"it is now {'.'.join((*place, renamed))!r}"
    accepted = sorted({*inner.model_fields, *getattr(inner, "SHORTHANDS", ())})
    return choices(name, accepted)


def _model_at(model: type[BaseModel], place: Sequence[str]) -> type[BaseModel]:
    """Return the model at a place of nested models."""
    for part in place:
        field = model.model_fields.get(part)
        annotations = (
            [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        )
        inner = [a for a in annotations if isinstance(a, type) and issubclass(a, BaseModel)]
        model = inner[0] if inner else model
    return model


def differences(before: Any, after: Any, name: str = "") -> dict[str, tuple[Any, Any]]:
    """Return what differs between two nested settings: dotted key -> (before, after); None stands
    for what is not there.
    """
    pairs: Iterable[tuple[Any, Any, Any]]
    if isinstance(before, dict) and isinstance(after, dict):
        pairs = ((key, before.get(key), after.get(key)) for key in before | after)
    elif isinstance(before, list) and isinstance(after, list):
        pairs = ((key, *pair) for key, pair in enumerate(zip_longest(before, after)))
    else:
        return {} if before == after else {name: (before, after)}
    found: dict[str, tuple[Any, Any]] = {}
    for key, old, new in pairs:
        found |= differences(old, new, f"{name}.{key}" if name else str(key))
    return found


def dump(config: BaseModel) -> str:
    """Return settings as YAML that reads back as the same."""
    return OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))
