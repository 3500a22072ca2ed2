"""Shards of two workers: what is reduced, clipped, skipped, scored and saved is what copies would
give, to the last digits.
"""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.loader import load_steps
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import StepData
from ernie_cmtl.run.run import Run
from ernie_cmtl.settings import validate
from ernie_cmtl.training.checkpoint import snapshot
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.sharding import Sharding, whole, whole_weights
from ernie_cmtl.training.trainer import Trainer
from tests.support.heads import KINDS, every_kind
from tests.support.runs import tiny_settings
from tests.support.workers import together

HEAD = f"every_kind/{KINDS[1].name}"
"""Reads an inner layer."""


class Reductions(TorchDispatchMode):
    """Counts how often gradients are added up over the workers and cut into shards."""

    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += "reduce_scatter" in str(func)
        return func(*args, **(kwargs or {}))


def arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: value.detach().numpy().copy() for name, value in tensors.items()}


def pieces(trainer: Trainer) -> list[Tensor]:
    """What this worker has of weights and moments."""
    moments = [value for state in trainer.optimizer.state.values() for value in state.values()]
    return [
        value.to_local() if isinstance(value, DTensor) else value
        for value in (*trainer.model.parameters(), *moments)
    ]


def spoiled(trainer: Trainer, data: StepData) -> bool:
    """Take a step in which the loss of the second worker alone is no number; is it skipped, and
    does every bit stay.
    """
    before = [piece.detach().clone() for piece in pieces(trainer)]
    if trainer.workers.rank:
        trainer.wrapped.register_forward_hook(
            lambda module, given, found: (found[0] * math.nan, found[1])
        )
    skipped = bool(trainer.step(data).skipped)
    return skipped and all(
        torch.equal(one, other) for one, other in zip(pieces(trainer), before, strict=True)
    )


def trained(run: Run, sharding: Sharding) -> dict[str, Any]:
    """Be one of the workers of a run."""
    workers = Workers("fp32", sharding=sharding)
    trainer = run.new_trainer(run.new_model(), workers)
    trainer.wrapped.train()
    found: dict[str, Any] = {"losses": [], "norms": []}
    for data in load_steps(
        run.steps_from(run.first_ledger(), run.table.steps, workers.rank, workers.count)
    ):
        with Reductions() if data.step == 0 else nullcontext() as reductions:
            result = trainer.step(data)
        found["losses"].append(float(workers.sum(result.loss)))
        found["norms"].append(float(result.gradient_norm))
        if reductions:
            found["reductions"] = reductions.number
    state = snapshot(trainer.model, trainer.optimizer, data.ledger, {})
    workers.check_same_weights(trainer.model, trainer.optimizer)
    found |= {
        "state": arrays(state.weights | state.moments),
        "numbers": sum(piece.numel() for piece in pieces(trainer)),
    }
    return found | {"spoiled": spoiled(trainer, data)}


def trained_both_ways(config: RunConfig) -> list[dict[str, Any]]:
    run = Run(config)
    return [trained(run, "none"), trained(run, "full")]


def test_shards_train_as_copies_do(english: Corpus, tmp_path: Path) -> None:
    settings = tiny_settings(english, tmp_path / "run")
    settings["stages"][0]["budgets"]["knowledge_masking"] = 3
    settings["encoder"]["layers"] = 1
    answers = together(trained_both_ways, RunConfig.model_validate(settings), folder=tmp_path)
    for copies, shards in answers:
        assert len(shards["losses"]) == 10
        assert shards["losses"] == pytest.approx(copies["losses"], rel=1e-6)
        # All of them are clipped, some steps leave heads out.
        assert min(copies["norms"]) > 1
        assert shards["norms"] == pytest.approx(copies["norms"], rel=1e-5)
        assert copies["spoiled"]
        assert shards["spoiled"]
        # The layer and what is around it, once a step, though each worker has two groups.
        assert shards["reductions"] == 2
    (copies, shards), (_, others) = answers
    assert shards["state"].keys() == copies["state"].keys()
    for name, value in copies["state"].items():
        np.testing.assert_allclose(shards["state"][name], value, rtol=0, atol=1e-6)
    # Counters of updates are the only numbers that both have; only the first worker has what is
    # saved.
    counters = sum(name.endswith("|step") for name in copies["state"])
    assert shards["numbers"] + others["numbers"] == copies["numbers"] + counters
    assert max(shards["numbers"], others["numbers"]) < 0.52 * copies["numbers"]
    assert not {name for name in others["state"] if not name.endswith("|step")}


def gradients_and_scores(folder: Path) -> list[dict[str, np.ndarray[Any, Any]]]:
    """Two backward passes over heads of every kind, of which the second worker's weigh double; then
    one worker scores alone.
    """
    corpus = Corpus(folder)
    (plain, batch), (model, _) = every_kind(corpus), every_kind(corpus)
    weights = torch.linspace(0.5, 1.5, len(plain.specs))[:, None] * torch.tensor([[1.0, 0.0]])
    (3 * 2 * plain(batch, weights)[0]).backward()
    expected = {
        name: parameter.grad
        for name, parameter in plain.named_parameters()
        if parameter.grad is not None
    }
    expected[HEAD] = plain.head_scores(batch, HEAD)
    workers = Workers("fp32", sharding="full")
    wrapped = workers.wrap(model)
    for last in (False, True):
        with workers.gradients(wrapped, reduced=last):
            (wrapped(batch, (1 + workers.rank) * weights)[0] * workers.count).backward()
    found = {
        name: whole(parameter.grad)
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    with whole_weights(model), torch.no_grad():
        found[HEAD] = model.head_scores(batch, HEAD) if not workers.rank else torch.empty(0)
    # Everything is in shards again.
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    return [arrays(expected), arrays(found)]


def test_every_kind_of_head_has_its_gradient_and_one_worker_may_score_alone(
    english: Corpus, tmp_path: Path
) -> None:
    (expected, found), _ = together(gradients_and_scores, english.folder, folder=tmp_path)
    assert found.keys() == expected.keys()
    # That of the word embeddings is also of the vocabulary head, which is tied to them.
    assert {
        "encoder.embeddings.word_embeddings.weight",
        "heads.masked_token.bias",
        "encoder.pooler.dense.weight",
    } < found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)


def test_one_worker_alone_has_everything(tiny_config: RunConfig) -> None:
    run = Run(tiny_config)
    workers = Workers("fp32", sharding="full")
    trainer = run.new_trainer(run.new_model(), workers)
    assert not any(isinstance(parameter, DTensor) for parameter in trainer.model.parameters())


def test_muon_is_refused(tiny_config: RunConfig) -> None:
    settings = tiny_config.model_dump(mode="json")
    with pytest.raises(
        UserError, match=r"training\.sharding 'full' .* optimizer\.kind 'muon' .*accepted: adamw"
    ):
        validate(RunConfig, settings, ["training.sharding=full", "optimizer.kind=muon"], "run")
