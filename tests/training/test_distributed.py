"""Workers compare their weights."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from ernie_cmtl.errors import UserError
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.optimizer import OptimizerConfig, build_optimizer


@pytest.mark.parametrize("differs", ["nothing", "one bit", "the number of updates"])
def test_weights_that_differ_are_noticed(monkeypatch: pytest.MonkeyPatch, differs: str) -> None:
    workers = Workers("fp32")
    digests: list[Tensor] = []

    def gather(own: Tensor) -> Tensor:
        digests.append(own)
        return torch.cat(digests)

    model = nn.Linear(3, 2)
    model.scalar = nn.Parameter(torch.tensor(1.0))
    optimizer = build_optimizer(model, OptimizerConfig(), (nn.LayerNorm,), [])
    optimizer.state[model.weight]["step"] = torch.tensor(5.0)
    monkeypatch.setattr(workers._accelerator, "gather", gather)
    # Two workers, one after the other.
    workers.count = 2
    workers.check_same_weights(model, optimizer)
    if differs == "one bit":
        with torch.no_grad():
            model.weight.view(torch.int32)[0, 0] ^= 1
    if differs == "the number of updates":
        # As if one worker had left out a step: where weights are in shards, nothing else shows it.
        optimizer.state[model.weight]["step"] += 1
    with (
        pytest.raises(RuntimeError, match="worker 1 are not those of worker 0")
        if differs != "nothing"
        else nullcontext()
    ):
        workers.check_same_weights(model, optimizer)


@pytest.mark.skipif(torch.cuda.is_available(), reason="GPUs can")
def test_gradients_are_reduced_in_half_precision_on_gpus_only() -> None:
    with pytest.raises(UserError, match=r"reduce_precision 'bf16'.*accepted here: fp32"):
        Workers("fp32", reduce_precision="bf16")
