"""Workers of several machines: they agree before the first step, and one that does not see the
checkpoint is sent it.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.distributed import run as torchrun

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.stage_streams import StageData
from ernie_cmtl.errors import UserError
from ernie_cmtl.training.checkpoint import checkpoints
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.corpora import build_corpus, sample_texts
from tests.support.runs import (
    Watcher,
    config_of,
    final_tensors,
    last_step,
    pretrain_command,
    same_tensors,
    tiny_settings,
    trace,
    wait_until,
    with_training,
)
from tests.support.workers import Worker, free_port, started, together

STEPS = 24


def machines(configs: list[RunConfig], folder: Path) -> list[Worker]:
    """Start torchrun on what it takes for two machines, with one worker each."""
    port = free_port()
    started = []
    for rank, config in enumerate(configs):
        own = folder / f"machine-{rank}"
        own.mkdir(exist_ok=True)
        words, environment = pretrain_command(config, own)
        place = [
            "--nnodes",
            "2",
            "--node-rank",
            str(rank),
            "--master-addr",
            "127.0.0.1",
            "--master-port",
            str(port),
        ]
        launcher = ["torchrun", *place, "--nproc-per-node", "1", *words[1:]]
        variables = {
            name: environment[name] for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
        }
        started.append(Worker(launcher, variables, own / "said", torchrun.main))
    return started


def power_cut(process: Worker) -> None:
    """End a machine: the launcher and its workers, which are in a process group of their own."""
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()


def end_of(processes: list[Worker]) -> list[int]:
    try:
        return [process.wait(120) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                power_cut(process)


@pytest.fixture(scope="module")
def unbroken(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    config = config_of(english, folder / "run", STEPS, 0)
    assert [process.wait(240) for process in started(config, folder, 2)] == [0, 0]
    return config.run


@pytest.mark.parametrize("shared", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_two_machines_of_which_one_is_killed_end_as_if_nothing_had_been(
    english: Corpus, unbroken: Path, tmp_path: Path, shared: bool
) -> None:
    names = ["run", "run" if shared else "other"]
    configs = [config_of(english, tmp_path / name, STEPS, 0) for name in names]
    processes = machines(configs, tmp_path)
    wait_until(lambda: last_step(configs[0].run) >= STEPS // 2, processes)
    power_cut(processes[1])
    assert 0 not in end_of(processes)
    assert checkpoints(configs[0].run / "checkpoints")
    assert shared or not configs[1].run.exists()
    assert end_of(machines(configs, tmp_path)) == [0, 0], (
        tmp_path / "machine-1" / "said.err"
    ).read_text()[-2000:]
    assert trace(configs[0].run) == trace(unbroken)
    assert same_tensors(final_tensors(configs[0].run), final_tensors(unbroken))
    assert shared or not configs[1].run.exists()


def attempt(settings: list[dict[str, Any]], before: Callable[[], object] | None = None) -> str:
    """Train as one of two workers, each with settings of its own; return why it was refused."""
    rank = int(os.environ["RANK"])
    if before and rank:
        before()
    try:
        pretrain(RunConfig.model_validate(settings[rank]), Watcher())
    except UserError as error:
        return str(error)
    return ""


def refused(
    folder: Path, settings: list[dict[str, Any]], before: Callable[[], object] | None = None
) -> str:
    """Return what is said where two workers do not fit, after checking that no step was taken."""
    main, other = together(attempt, settings, before, folder=folder)
    assert (
        other in ("worker 1 ends with the others", "worker 1 ends: the main worker cannot go on")
        or other == main
    )
    for each in settings:
        assert not (Path(each["run"]) / "metrics.jsonl").exists()
    return str(main)


def other_torch() -> None:
    torch.__version__ = type(torch.__version__)("2.0.0")


def other_tasks() -> None:
    real = StageData.plan
    StageData.plan = lambda self, shares, ledger: real(self, shares[::-1], ledger)  # type: ignore[method-assign]


CHANGES: dict[str, tuple[dict[str, Any], Callable[[], object] | None, str]] = {
    "seed": ({"seed": 2}, None, "settings.seed (2, on the main worker 1)"),
    "learning rate": (
        {"optimizer": {"learning_rate": 0.5}},
        None,
        "settings.optimizer.learning_rate (0.5, on the main worker",
    ),
    "precision": (
        {"training": {"precision": "bf16"}},
        None,
        "precision ('bf16', on the main worker 'fp32')",
    ),
    "version": ({}, other_torch, "versions.torch ('2.0.0', on the main worker '"),
    "code of a task": ({}, other_tasks, "samples of the next step ('"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_workers_that_are_not_set_up_alike_are_refused_before_the_first_step(
    english: Corpus, tmp_path: Path, change: str
) -> None:
    changed, before, message = CHANGES[change]
    settings = [tiny_settings(english, tmp_path / "run") for _ in range(2)]
    for each in settings:
        each["stages"] = each["stages"][1:]
    for key, value in changed.items():
        settings[1][key] = settings[1].get(key, {}) | value if isinstance(value, dict) else value
    said = refused(tmp_path, settings, before)
    host = socket.gethostname()
    assert said.startswith(f"worker 1 on {host} is not set up as the main worker on {host}: ")
    assert message in said
    assert said.endswith("all workers need the same configuration, corpus, versions and precision")


def test_another_corpus_on_another_machine_is_refused_and_the_same_in_another_place_is_not(
    english: Corpus, tmp_path: Path
) -> None:
    build_corpus(tmp_path, sample_texts("en", 30))
    settings = [tiny_settings(english, tmp_path / "run") for _ in range(2)]
    settings[1]["corpus"] = str(tmp_path / "corpus")
    assert "corpus ('" in refused(tmp_path, settings)
    (tmp_path / "link").symlink_to(english.folder)
    settings[1] |= {"corpus": str(tmp_path / "link"), "run": str(tmp_path / "elsewhere")}
    assert together(attempt, settings, folder=tmp_path) == ["", ""]


def test_a_worker_whose_machine_lacks_the_corpus_ends_all_with_its_reason(
    english: Corpus, tmp_path: Path
) -> None:
    settings = [tiny_settings(english, tmp_path / "run") for _ in range(2)]
    settings[1]["corpus"] = str(tmp_path / "absent")
    main, other = together(attempt, settings, folder=tmp_path)
    assert main.startswith(f"worker 1: no corpus at {tmp_path / 'absent'}")
    assert other == "worker 1 ends with the others" or other.startswith("no corpus at")


def test_a_main_worker_that_lost_the_checkpoint_does_not_begin_anew(
    english: Corpus, tmp_path: Path
) -> None:
    settings = [tiny_settings(english, tmp_path / name) for name in ("run", "other")]
    pretrain(RunConfig.model_validate(settings[1]), Watcher(interrupt_at=6))
    (tmp_path / "other" / "metrics.jsonl").unlink()
    said = refused(tmp_path, settings)
    assert f"worker 1 on {socket.gethostname()} has a checkpoint of step 7 in " in said
    assert "torchrun --node-rank 0" in said
    assert not checkpoints(tmp_path / "run" / "checkpoints")


@pytest.mark.parametrize("sharding", ["none", "full"])
@pytest.mark.parametrize("kind", ["adamw", pytest.param("muon", marks=pytest.mark.slow)])
def test_a_worker_without_the_checkpoint_goes_on_bit_equal(
    english: Corpus, tmp_path: Path, sharding: str, kind: str
) -> None:
    if (kind, sharding) == ("muon", "full"):
        pytest.skip("is refused")
    runs = [[tmp_path / "whole"] * 2, [tmp_path / "run", tmp_path / "other"]]
    settings = [[tiny_settings(english, run) for run in pair] for pair in runs]
    for each in [each for pair in settings for each in pair]:
        each["optimizer"] |= {"kind": kind}
        each["training"] |= {"sharding": sharding}
    assert together(attempt, settings[0], folder=tmp_path) == ["", ""]
    for each in settings[1]:
        each["training"]["max_hours"] = 1e-9
    assert together(attempt, settings[1], folder=tmp_path) == ["", ""]
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")] == ["step-1"]
    for each in settings[1]:
        each["training"]["max_hours"] = None
    assert together(attempt, settings[1], folder=tmp_path) == ["", ""]
    assert [row[:2] for row in trace(tmp_path / "run")] == [
        row[:2] for row in trace(tmp_path / "whole")
    ]
    assert same_tensors(final_tensors(tmp_path / "run"), final_tensors(tmp_path / "whole"))
    assert not (tmp_path / "other").exists()


def shared_values() -> tuple[list[str], dict[str, list[Any]]]:
    workers = Workers("fp32")
    texts = workers.texts("ä" * (3 * workers.rank))
    kinds = {
        "step": torch.tensor(3.0),
        "none": torch.zeros(0, 4),
        "half": torch.tensor([[0.5, 1.5]], dtype=torch.bfloat16),
        "long": torch.tensor([1 << 40]),
        "bool": torch.tensor([True, False]),
    }
    found = workers.from_main(lambda: kinds if workers.is_main else {"never": torch.zeros(1)})
    workers.close()
    return texts, {name: [str(value.dtype), value.tolist()] for name, value in found.items()}


def test_texts_and_tensors_of_every_kind_come_through(tmp_path: Path) -> None:
    first, second = together(shared_values, folder=tmp_path)
    assert first == second
    texts, found = first
    assert texts == ["", "äää"]
    assert found == {
        "step": ["torch.float32", 3.0],
        "none": ["torch.float32", []],
        "half": ["torch.bfloat16", [[0.5, 1.5]]],
        "long": ["torch.int64", [1 << 40]],
        "bool": ["torch.bool", [True, False]],
    }


def test_one_worker_alone_asks_nobody(tiny_config: RunConfig) -> None:
    workers = Workers("fp32")
    assert workers.texts("own") == ["own"]
    assert workers.from_main(lambda: {"a": torch.ones(1)})["a"].item() == 1
    with pytest.raises(UserError, match=r"^no$"):
        workers.on_each(lambda: (_ for _ in ()).throw(UserError("no")))
    assert pretrain(with_training(tiny_config, max_hours=1e-9), Watcher())["steps"] == 1
