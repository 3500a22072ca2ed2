"""The tensors of a checkpoint back into a model and its optimizer."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor, nn

from ernie_cmtl.errors import UserError
from ernie_cmtl.model.foreign_tensors import check_tensors, read_tensors
from ernie_cmtl.training.checkpoint import MOMENTS, WEIGHTS
from ernie_cmtl.training.optimizer import Optimizers
from ernie_cmtl.training.sharding import placed

Share = Callable[[Callable[[], dict[str, Tensor]]], dict[str, Tensor]]
"""Takes what reads tensors from a file, and returns them; on several workers, those that the main
one has read.
"""


def _read_here(read: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    return read()


def load_weights(
    checkpoint: Path, model: nn.Module, fresh: Sequence[str] = (), share: Share = _read_here
) -> None:
    """Load the weights of a checkpoint into a model of the same sizes; fresh: beginnings of the
    names that only the model has.
    """
    own = model.state_dict()
    kept = {name: value for name, value in own.items() if name.startswith(tuple(fresh))}
    path = checkpoint / WEIGHTS
    saved = share(lambda: read_tensors(path))
    needed = {name: value for name, value in own.items() if name in saved or name not in kept}
    check_tensors(saved, needed, path)
    model.load_state_dict(
        kept | {name: placed(value, own.get(name, value)) for name, value in saved.items()}
    )


def load_optimizer(
    checkpoint: Path, model: nn.Module, optimizer: Optimizers, share: Share = _read_here
) -> None:
    """Give each parameter its optimizer state back, by name."""
    path = checkpoint / MOMENTS
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in share(lambda: read_tensors(path)).items():
        name, _, entry = key.rpartition("|")
        by_name.setdefault(name, {})[entry] = value
    for name, parameter in model.named_parameters():
        for entry, value in by_name.pop(name, {}).items():
            if not value.is_floating_point() or value.shape not in (parameter.shape, ()):
                raise UserError(
                    f"{path} does not belong to this model: {entry} of {name} is {value.dtype} "
                    f"{list(value.shape)}"
                )
            optimizer.state[parameter][entry] = placed(value, parameter)
    if by_name:
        raise UserError(
            f"checkpoint {checkpoint} holds optimizer state of unknown parameters: "
            f"{', '.join(sorted(by_name))}"
        )
