"""The verb prepare: raw text, layers and labelled rows -> an annotated corpus."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import ADDABLE, DEFAULT_LAYERS, PrepareConfig
from ernie_cmtl.corpus.build.progress import Reporter
from ernie_cmtl.corpus.build.request import Request, added_to, new_corpus
from ernie_cmtl.corpus.layers import layer_names
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Language
from ernie_cmtl.settings import validate


@dataclass(frozen=True)
class PrepareArguments:
    """What the verb was given."""

    output: Path | None
    corpus: Path | None
    language: str | None
    words: list[str]
    """Inputs and settings, as they stand."""
    layers: list[str]
    labelled: list[str]
    flags: Mapping[str, str | int | None]
    """Setting -> value of its own option, if that was given."""


def prepare(
    arguments: PrepareArguments, processes: int, report: Reporter, restart: bool = False
) -> dict[str, Any]:
    """Build a corpus, add to one, or go on with a build that was broken off, and return its counts,
    sizes and fingerprint.

    processes: that annotate text, 1 for this one alone; restart: give up an unfinished build in the
    folder.

    Raises:
        UserError: As in `request_of` and `corpus.build.pipeline.build`.
    """
    return build(request_of(arguments), processes, report, restart)


def request_of(arguments: PrepareArguments) -> Request:
    """Check what was written and return the request.

    Raises:
        UserError: Options that do not go together, or a word that is neither an input nor a
            setting.
    """
    if (arguments.output is None) == (arguments.corpus is None):
        raise UserError("name either --output DIR for a new corpus or --corpus DIR to add to one")
    # `--layers ONE TWO` gives the option its first word alone; the names after it come with the
    # inputs.
    known = set(layer_names()) if arguments.layers else set()
    more_layers = [word for word in arguments.words if word in known and not Path(word).exists()]
    others = [word for word in arguments.words if word not in more_layers]
    arguments = replace(arguments, layers=[*arguments.layers, *more_layers], words=others)
    settings = [word for word in arguments.words if _is_setting(word)]
    inputs = [word for word in arguments.words if not _is_setting(word)]
    settings += [f"{key}={value}" for key, value in arguments.flags.items() if value is not None]
    if arguments.corpus:
        if arguments.language:
            raise UserError(
                "the language of a corpus is fixed; leave --language away with --corpus"
            )
        if fixed := [
            word for word in settings if word.partition("=")[0].split(".")[0] not in ADDABLE
        ]:
            raise UserError(
                f"{fixed[0]!r} is fixed when a corpus is made; with --corpus one can set "
                f"{', '.join(ADDABLE)}"
            )
        return added_to(inputs, arguments.corpus, _config(arguments, settings, ()))
    if arguments.language not in get_args(Language):
        given = (
            f"unknown language {arguments.language!r}"
            if arguments.language
            else "--language is missing"
        )
        raise UserError(f"{given}; accepted: {', '.join(get_args(Language))}")
    language = cast(Language, arguments.language)
    assert arguments.output is not None
    return new_corpus(
        inputs, arguments.output, language, _config(arguments, settings, DEFAULT_LAYERS[language])
    )


def _config(
    arguments: PrepareArguments, settings: list[str], default_layers: tuple[str, ...]
) -> PrepareConfig:
    """Put settings on top of what the options say; options of a layer that was not named add it."""
    named = [name for word in arguments.layers for name in word.split(",") if name]
    base: dict[str, Any] = {}
    if named or any(word.startswith("layers.") for word in settings):
        base["layers"] = {name: {} for name in named or default_layers}
    for word in arguments.labelled:
        name, separator, file = word.partition("=")
        if not separator or not name.isidentifier():
            raise UserError(
                f"--labelled {word!r} is not of the form NAME=FILE, NAME of letters, digits and "
                "underscores"
            )
        base.setdefault("labelled", {})[name] = {"file": file}
    return validate(PrepareConfig, base, settings, "prepare")


def _is_setting(word: str) -> bool:
    """Tell a setting `key.sub=value` from an input `PATH` or `SOURCE=PATH`."""
    key, separator, _ = word.partition("=")
    if not separator or Path(word).exists() or ":" in key:
        return False
    return "." in key or key in PrepareConfig.model_fields
