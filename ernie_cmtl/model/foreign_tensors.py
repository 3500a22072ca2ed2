"""Safetensors files that others may have made, compared with what a model needs."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ernie_cmtl.errors import UserError


class UnfitTensorError(UserError):
    """A tensor of a file does not fit the model."""

    def __init__(self, name: str, path: Path, problem: str) -> None:
        """name: of the tensor; problem: how the message ends."""
        super().__init__(f"{path} does not belong to this model: {problem}")
        self.name = name


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
        UnfitTensorError: One is missing, unknown, or of another shape or kind of number.
    """
    if missing := sorted(expected.keys() - found.keys()):
        raise UnfitTensorError(missing[0], path, f"it lacks {missing[0]}")
    if unknown := sorted(found.keys() - expected.keys()):
        raise UnfitTensorError(unknown[0], path, f"it has {unknown[0]}")
    for name, tensor in found.items():
        wanted = expected[name]
        floating = tensor.is_floating_point() == wanted.is_floating_point()
        if tensor.shape != wanted.shape or not floating:
            own, ours = (
                f"{tensor.dtype} {list(tensor.shape)}",
                f"{wanted.dtype} {list(wanted.shape)}",
            )
            raise UnfitTensorError(name, path, f"{name} is {own}, the model has {ours}")
