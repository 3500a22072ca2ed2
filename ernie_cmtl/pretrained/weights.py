"""The weights of a checkpoint: safetensors alone, and as many as its config describes."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors import safe_open
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, logging
from transformers.utils.hub import cached_file

from ernie_cmtl.errors import UserError
from ernie_cmtl.foreign_files import read_json
from ernie_cmtl.pretrained.reasons import reason

_DTYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "BOOL"}
"""Floats, and the kinds of buffers; all others hold quantized weights."""
_NEW_WEIGHTS = 100_000_000
"""Most weights that a model may have beside twice those of its files, such as a new head."""


class _Index(BaseModel):
    """What is read of the index of weights in several files."""

    weight_map: dict[str, str]


def load_weights(
    model_class: Any, name: str, what: str, config: PretrainedConfig, **options: Any
) -> tuple[PreTrainedModel, set[str]]:
    """Return a model with the weights of a checkpoint, and the names of those that it lacks.

    model_class: of transformers, an automatic one or that of a model; what: how messages call the
    checkpoint; options: of `from_pretrained`.

    Raises:
        UserError: There are no safetensors weights, or they do not fit the config.
    """
    # What the library raises has no common type.
    try:
        _check_size(model_class, config, _check_files(name))
        with quiet_loading():
            model, report = model_class.from_pretrained(
                name,
                config=config,
                use_safetensors=True,
                output_loading_info=True,
                trust_remote_code=False,
                **options,
            )
    except Exception as error:
        raise UserError(f"{what} holds no safetensors weights that fit: {reason(error)}") from error
    return model, set(report["missing_keys"])


def new_weights(model_class: Any, config: PretrainedConfig, **options: Any) -> PreTrainedModel:
    """Return a model of the sizes of a config with random weights."""
    if _is_concrete(model_class):
        made: PreTrainedModel = model_class(config)
        return made
    made = model_class.from_config(config, trust_remote_code=False, **options)
    return made


def _is_concrete(model_class: Any) -> bool:
    """Tell the class of a model from an automatic one."""
    return isinstance(model_class, type) and issubclass(model_class, PreTrainedModel)


def _check_files(name: str) -> int:
    """Return how many numbers the files of a checkpoint hold.

    Raises:
        ValueError: There are none, or one holds quantized weights.
    """
    numbers = 0
    for path in _files(name):
        with safe_open(path, framework="pt") as tensors:
            # The library's object is no mapping.
            for key in tensors.keys():  # noqa: SIM118
                tensor = tensors.get_slice(key)
                if tensor.get_dtype() not in _DTYPES:
                    raise ValueError(
                        f"{key} is of the type {tensor.get_dtype()}; accepted are weights that "
                        "are not quantized"
                    )
                numbers += math.prod(tensor.get_shape())
    return numbers


def _files(name: str) -> list[str]:
    """Return the files with the weights of a checkpoint.

    Raises:
        ValueError: There are none, or the index names other files than safetensors beside it: the
            library would unpickle them.
    """
    whole, index = (find_file(name, file) for file in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))
    parts: list[str] = []
    if index:
        parts = sorted(set(read_json(Path(index), _Index).weight_map.values()))
        for part in parts:
            if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", part):
                raise ValueError(f"{SAFE_WEIGHTS_INDEX_NAME} names {part!r}")
    if whole:
        return [whole]
    files = {part: find_file(name, part) for part in parts}
    if missing := [part for part, path in files.items() if path is None]:
        raise ValueError(f"it lacks {missing[0]}")
    if not files:
        raise ValueError(f"it has no {SAFE_WEIGHTS_NAME}")
    return [str(path) for path in files.values()]


def find_file(name: str, file: str) -> str | None:
    """Return the path of a file of a checkpoint; None where it is not there."""
    try:
        path: str | None = cached_file(name, file)
    except OSError:
        return None
    return path


def _check_size(model_class: Any, config: PretrainedConfig, numbers: int) -> None:
    """Refuse a config that describes far more weights than the files hold: the library would
    allocate them before it finds out.

    Raises:
        ValueError: It does.
    """
    with torch.device("meta"):
        model = new_weights(model_class, config)
    described = sum(weight.numel() for weight in model.parameters())
    if described > 2 * numbers + _NEW_WEIGHTS:
        raise ValueError(
            f"the config describes {described:,} weights, and the files hold {numbers:,}"
        )


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep the library from listing the weights that a class without them passes over, and from
    drawing bars; what is missing is checked by us.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()  # type: ignore[no-untyped-call]
