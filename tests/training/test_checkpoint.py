"""A checkpoint holds everything bit for bit, is there whole or not at all, and never holds a
pickle.
"""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Ledger
from ernie_cmtl.training import checkpoint
from ernie_cmtl.training.checkpoint import (
    check_space,
    checkpoints,
    load_state,
    save_checkpoint,
    snapshot,
    verify_checkpoint,
)
from ernie_cmtl.training.checkpoint_tensors import load_optimizer, load_weights
from ernie_cmtl.training.optimizer import OptimizerConfig, build_optimizer
from tests.support.checkpoints import (
    ABOUT,
    ledger,
    moments,
    names,
    new_pair,
    save,
    save_pair,
    train,
)


def test_weights_and_moments_come_back_bit_for_bit(tmp_path: Path) -> None:
    model, optimizer = new_pair(1)
    train(model, optimizer, 5, seed=2)
    path = save_pair(tmp_path, model, optimizer, 5)
    other, other_optimizer = new_pair(7)
    load_weights(path, other)
    load_optimizer(path, other, other_optimizer)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    before, after = moments(model, optimizer), moments(other, other_optimizer)
    used = {"dense.weight", "dense.bias", "LayerNorm.weight", "LayerNorm.bias"}
    assert (
        before.keys()
        == after.keys()
        == {(name, key) for name in used for key in ("step", "exp_avg", "exp_avg_sq")}
    )
    assert all(
        torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype
        for key in before
    )
    assert float(after["dense.weight", "step"]) == 5


def test_training_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    model, optimizer = new_pair(1)
    train(model, optimizer, 3, seed=2)
    path = save_pair(tmp_path, model, optimizer, 3)
    train(model, optimizer, 4, seed=3)
    other, other_optimizer = new_pair(9)
    load_weights(path, other)
    load_optimizer(path, other, other_optimizer)
    train(other, other_optimizer, 4, seed=3)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )
    without_moments, fresh_optimizer = new_pair(9)
    load_weights(path, without_moments)
    train(without_moments, fresh_optimizer, 4, seed=3)
    assert not torch.equal(without_moments.dense.weight, model.dense.weight)


def test_the_ledger_and_what_is_said_of_the_run_come_back(tmp_path: Path) -> None:
    found, about = load_state(save(tmp_path, 12))
    assert found == Ledger(12, (3, 4), (100, 200), (1 / 3, 200.1), (4.5, 7.5))
    assert about == ABOUT


def test_a_checkpoint_is_made_of_safetensors_and_json(tmp_path: Path) -> None:
    path = save(tmp_path, 4)
    assert {file.name for file in path.iterdir()} == {
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
        "SHA256SUMS",
    }
    for file in path.glob("*.safetensors"):
        header = int.from_bytes(file.read_bytes()[:8], "little")
        json.loads(file.read_bytes()[8 : 8 + header])
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-4"]


def test_only_the_newest_checkpoints_are_kept_and_newest_means_by_number(tmp_path: Path) -> None:
    for step in (2, 9, 10, 100):
        save(tmp_path, step, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-100"]
    assert names(tmp_path) == ["step-10", "step-100"]


def test_a_pinned_step_is_kept_beside_the_newest_ones(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8):
        save_checkpoint(tmp_path, snapshot(*new_pair(0), ledger(step), ABOUT), 1, pinned={4})
    assert names(tmp_path) == ["step-4", "step-8"]


def test_there_are_no_checkpoints_where_there_is_no_folder(tmp_path: Path) -> None:
    assert checkpoints(tmp_path / "none") == []


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    first = save(tmp_path, 3, seed=1)
    old = (first / "model.safetensors").read_bytes()
    assert save(tmp_path, 3, seed=2) == first
    assert (first / "model.safetensors").read_bytes() != old
    assert names(tmp_path) == ["step-3"]


def test_what_a_broken_save_or_removal_has_left_is_no_checkpoint_and_goes_with_the_next_save(
    tmp_path: Path,
) -> None:
    for name in (".partial-step-7", ".removed-step-1"):
        shutil.copytree(save(tmp_path, 3), tmp_path / name)
    assert names(tmp_path) == ["step-3"]
    save(tmp_path, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-3", "step-5"]


def test_the_sums_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    path = save(tmp_path, 3)
    found = dict(
        reversed(line.split("  ")) for line in (path / "SHA256SUMS").read_text().splitlines()
    )
    assert found == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.iterdir()
        if file.name != "SHA256SUMS"
    }


def test_an_intact_checkpoint_passes_the_check_and_one_under_another_name_does_not(
    tmp_path: Path,
) -> None:
    path = save(tmp_path, 3)
    verify_checkpoint(path)
    with pytest.raises(UserError, match="it holds step 3"):
        verify_checkpoint(path.rename(tmp_path / "step-4"))


def test_the_older_checkpoints_stay_where_the_new_one_reads_back_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 3, keep=1)

    def rots(path: Path) -> None:
        real(path)
        if path.name == "model.safetensors":
            path.write_bytes(path.read_bytes()[:-1] + b"!")

    real = checkpoint.sync
    monkeypatch.setattr(checkpoint, "sync", rots)
    with pytest.raises(
        UserError, match=r"step 5 could not be saved .* model\.safetensors is not what was written"
    ):
        save(tmp_path, 5, keep=1)
    assert names(tmp_path) == ["step-3", "step-5"]


def test_room_for_checkpoints_is_weights_and_two_moments_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Linear(500, 1000, bias=False)
    optimizer = build_optimizer(model, OptimizerConfig(), (nn.LayerNorm,), [])
    model(torch.ones(500)).sum().backward()
    optimizer.step_unless(torch.tensor(False))
    path = save_checkpoint(tmp_path, snapshot(model, optimizer, ledger(1), ABOUT), 1)
    size = sum(file.stat().st_size for file in path.iterdir())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=3 * size))
    check_space(tmp_path, model, 3)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=int(2.99 * size)))
    with pytest.raises(UserError, match=r"17\.9 MB free; 3 checkpoints of 6\.0 MB need 18\.0 MB"):
        check_space(tmp_path, model, 3)


def test_optimizer_state_of_a_parameter_that_is_not_there_is_refused_by_name(
    tmp_path: Path,
) -> None:
    model, optimizer = new_pair(1)
    train(model, optimizer, 1, seed=2)
    path = save_pair(tmp_path, model, optimizer, 1)
    smaller = nn.ModuleDict({"dense": nn.Linear(5, 3)})
    with pytest.raises(UserError, match=r"unknown parameters: LayerNorm\.bias, LayerNorm\.weight$"):
        load_optimizer(
            path, smaller, build_optimizer(smaller, OptimizerConfig(), (nn.LayerNorm,), [])
        )


def test_weights_of_another_shape_are_not_taken_silently(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    with pytest.raises(UserError, match="does not belong to this model: it has idle"):
        load_weights(path, nn.ModuleDict({"dense": nn.Linear(5, 3), "LayerNorm": nn.LayerNorm(3)}))


def test_only_weights_that_are_named_as_fresh_may_be_missing(tmp_path: Path) -> None:
    model, optimizer = new_pair(1)
    path = save_pair(tmp_path, model, optimizer, 1)
    grown, _ = new_pair(2)
    grown.added, grown.other = nn.Linear(2, 2), nn.Linear(2, 2)
    before = grown.added.weight.clone()
    with pytest.raises(UserError, match=r"does not belong to this model: it lacks other\.bias$"):
        load_weights(path, grown, ["added."])
    load_weights(path, grown, ["added.", "other.", "dense."])
    assert torch.equal(grown.added.weight, before)
    assert torch.equal(grown.dense.weight, model.dense.weight)
