"""Workers compare their weights."""

import pytest
import torch
from torch import Tensor, nn

from ernie_cmtl.errors import UserError
from ernie_cmtl.training.workers import Workers


@pytest.mark.parametrize("differs", [False, True])
def test_weights_that_differ_in_one_bit_are_noticed(monkeypatch: pytest.MonkeyPatch, differs: bool) -> None:
    workers = Workers("fp32")
    digests: list[Tensor] = []

    def gather(own: Tensor) -> Tensor:
        digests.append(own)
        return torch.cat(digests)

    model = nn.Linear(3, 2)
    monkeypatch.setattr(workers._accelerator, "gather", gather)
    # Two workers, one after the other.
    workers.count = 2
    workers.check_same_weights(model)
    if differs:
        with torch.no_grad():
            model.weight.view(torch.int32)[0, 0] ^= 1
        with pytest.raises(RuntimeError, match="weights of worker 1 are not those of worker 0"):
            workers.check_same_weights(model)
    else:
        workers.check_same_weights(model)


@pytest.mark.skipif(torch.cuda.is_available(), reason="GPUs can")
def test_gradients_are_reduced_in_half_precision_on_gpus_only() -> None:
    with pytest.raises(UserError, match=r"reduce_precision 'bf16'.*accepted here: fp32"):
        Workers("fp32", reduce_precision="bf16")
