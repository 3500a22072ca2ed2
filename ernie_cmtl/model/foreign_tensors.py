"""Safetensors files that others may have made, compared with what a model needs."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ernie_cmtl.errors import UserError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        UserError: It cannot be read, or its header does not fit its content.
    """
    try:
        return load_file(path)
    # Of a dtype that torch has not, the library says no more than KeyError.
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Compare tensors of a file with those that a model has under the same names.

    Raises:
        UserError: One is missing, unknown, or of another shape or kind of number.
    """
    if missing := sorted(expected.keys() - found.keys()):
        raise UserError(f"{path} does not belong to this model: it lacks {missing[0]}")
    if unknown := sorted(found.keys() - expected.keys()):
        raise UserError(f"{path} does not belong to this model: it has {unknown[0]}")
    for name, tensor in found.items():
        wanted = expected[name]
        floating = tensor.is_floating_point() == wanted.is_floating_point()
        if tensor.shape != wanted.shape or not floating:
            raise UserError(
                f"{path} does not belong to this model: {name} is {tensor.dtype} "
                f"{list(tensor.shape)}, the model has {wanted.dtype} {list(wanted.shape)}"
            )
