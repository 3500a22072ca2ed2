"""Any number of workers: what each task received is what the plan granted, whoever computed it."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig
from typer.testing import CliRunner

from ernie_cmtl.cli import local_workers
from ernie_cmtl.cli.app import app
from ernie_cmtl.cli.local_workers import count_workers
from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Batch, StepData
from ernie_cmtl.run.run import Run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import (
    Watcher,
    final_tensors,
    last_step,
    logged_lines,
    long_run,
    pretrain_command,
    same_tensors,
    tiny_settings,
    trace,
    wait_until,
)
from tests.support.workers import started

STAGES = [
    {"name": "first", "budgets": {"knowledge_masking": 6}},
    {"name": "second", "budgets": {"knowledge_masking": 3, "capitalization": 5}},
    {
        "name": "third",
        "budgets": {"knowledge_masking": 2, "capitalization": 2, "sentence_reordering": 6},
    },
]


def settings_of(corpus: Corpus, run: Path, mode: str = "mixed") -> dict[str, Any]:
    settings = tiny_settings(corpus, run) | {"stages": STAGES, "mode": mode}
    settings["training"] |= {"checkpoints": {"every": 2}}
    return settings


def steps_of(run: Run, workers: int) -> list[list[StepData]]:
    """The steps as each worker sees them; [workers][steps]."""
    return [
        list(run.steps_from(run.first_ledger(), run.table.steps, rank, workers))
        for rank in range(workers)
    ]


def slots_consumed(run: Run, groups: list[Batch]) -> dict[str, int]:
    """Count the real tokens of each task in batches, by the row of the task embedding that the
    encoder is given.
    """
    rows = np.concatenate(
        [group.task_type_ids[group.token_ids != run.corpus.vocabulary.pad_id] for group in groups]
    )
    return {instance.name: int((rows == instance.row).sum()) for instance in run.instances}


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("mode", ["mixed", "one_task"])
def test_what_workers_consume_is_what_the_plan_grants(
    english: Corpus, tmp_path: Path, workers: int, mode: str
) -> None:
    run = Run(RunConfig.model_validate(settings_of(english, tmp_path / "run", mode)))
    seen = steps_of(run, workers)
    alone = seen[0] if workers == 1 else steps_of(run, 1)[0]
    longest = max(stream.longest for stream in run.streams("train"))
    iterations = dict.fromkeys(run.table.tasks, 0)
    for step in range(run.table.steps):
        parts = [worker[step] for worker in seen]
        # Worker r has groups r, r + W, ...: in turns they are the groups of the whole step.
        groups = [
            group for turn in zip(*(part.groups for part in parts), strict=True) for group in turn
        ]
        for ours, expected in zip(groups, alone[step].groups, strict=True):
            for one, other in zip(astuple(ours)[:6], astuple(expected)[:6], strict=True):
                assert np.array_equal(one, other)
        assert all(part.ledger == alone[step].ledger for part in parts)
        consumed = slots_consumed(run, groups)
        ledger = parts[0].ledger
        before = alone[step - 1].ledger.tokens if step else (0,) * len(run.table.tasks)
        for task, now, then in zip(run.table.tasks, ledger.tokens, before, strict=True):
            # Slots are upper bounds of what an example fills.
            assert 0 <= now - then - consumed[task] < 0.2 * (now - then) + 1
            iterations[task] += consumed[task] > 0
        if mode == "mixed":
            assert all(
                abs(now - planned) < longest
                for now, planned in zip(ledger.tokens, ledger.planned, strict=True)
            )
    if mode == "one_task":
        assert iterations == run.table.totals
        assert seen[0][-1].ledger.iterations == pytest.approx(tuple(run.table.totals.values()))


def _killed(config: RunConfig, folder: Path, workers: int, after: int) -> None:
    """Train with a number of workers and kill them all, without notice, once a step is logged."""
    processes = started(config, folder, workers)
    wait_until(lambda: last_step(config.run) >= after, processes)
    for process in processes:
        process.kill()
    for process in processes:
        process.wait(60)


def _ended(config: RunConfig, folder: Path, workers: int) -> dict[str, Any]:
    processes = started(config, folder, workers)
    codes = [process.wait(250) for process in processes]
    assert codes == [0] * workers, (folder / "worker-0.err").read_text()[-2000:]
    return dict(json.loads((folder / "worker-0.out").read_text()))


@pytest.mark.parametrize("mode", ["one_task", pytest.param("mixed", marks=pytest.mark.slow)])
def test_one_then_four_then_two_workers_end_as_one(
    english: Corpus, tmp_path: Path, mode: str
) -> None:
    alone = RunConfig.model_validate(settings_of(english, tmp_path / "alone", mode))
    expected = pretrain(alone, Watcher())
    config = RunConfig.model_validate(settings_of(english, tmp_path / "run", mode))
    _killed(config, tmp_path, 1, after=5)
    _killed(config, tmp_path, 4, after=13)
    result = _ended(config, tmp_path, 2)
    assert result["consumed"] == expected["consumed"]
    assert result["samples"] == expected["samples"]
    assert result["iterations"] == expected["iterations"]
    if mode == "one_task":
        assert {
            task: round(number, 9) for task, number in result["iterations"].items()
        } == expected_totals()
    for (step, loss, norm), (other_step, other_loss, other_norm) in zip(
        trace(alone.run), trace(config.run), strict=True
    ):
        assert step == other_step
        assert other_loss == pytest.approx(loss, rel=1e-5)
        assert other_norm == pytest.approx(norm, rel=1e-4)
    # What one worker did before it was killed is bit-equal.
    alone_until = logged_lines(config.run, "workers")[0]["step"]
    assert alone_until >= 4
    assert [row[:2] for row in trace(config.run)][:alone_until] == [
        row[:2] for row in trace(alone.run)
    ][:alone_until]
    moves = [(row["before"], row["workers"]) for row in logged_lines(config.run, "workers")]
    assert moves == [(1, 4), (4, 2)]
    last = logged_lines(config.run, "workers")[-1]
    assert sum(last["left"].values()) == pytest.approx(24 - last["step"])
    assert last["rows_of_each_worker"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_a_killed_run_goes_on_bit_equal_with_as_many_workers(
    english: Corpus, tmp_path: Path, workers: int
) -> None:
    runs = [
        RunConfig.model_validate(settings_of(english, tmp_path / name))
        for name in ("unbroken", "broken")
    ]
    _ended(runs[0], tmp_path, workers)
    _killed(runs[1], tmp_path, workers, after=9)
    _killed(runs[1], tmp_path, workers, after=17)
    _ended(runs[1], tmp_path, workers)
    assert trace(runs[1].run) == trace(runs[0].run)
    assert same_tensors(final_tensors(runs[1].run), final_tensors(runs[0].run))


def expected_totals() -> dict[str, float]:
    found: dict[str, float] = {}
    for stage in STAGES:
        for task, budget in stage["budgets"].items():  # type: ignore[attr-defined]
            found[task] = found.get(task, 0) + budget
    return found


def test_the_option_workers_starts_them(english: Corpus, tmp_path: Path) -> None:
    alone = RunConfig.model_validate(settings_of(english, tmp_path / "alone"))
    expected = pretrain(alone, Watcher())
    config = RunConfig.model_validate(settings_of(english, tmp_path / "run"))
    command, environment = pretrain_command(config, tmp_path)
    done = subprocess.run(
        [*command, "--workers", "2"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert (result["steps"], result["worker"], result["finished"]) == (24, 0, True)
    assert result["consumed"] == expected["consumed"]
    for (_, loss, _), (_, other, _) in zip(trace(alone.run), trace(config.run), strict=True):
        assert other == pytest.approx(loss, rel=1e-5)


@pytest.mark.slow
def test_accelerate_starts_several_workers_on_cpus(english: Corpus, tmp_path: Path) -> None:
    config = RunConfig.model_validate(settings_of(english, tmp_path / "run"))
    (python, *command), environment = pretrain_command(config, tmp_path)
    launcher = ["-m", "accelerate.commands.launch", "--num_processes", "2"]
    outcomes = {
        option: subprocess.run(
            [python, *launcher, *option, "--main_process_port", "0", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        for option in ((), ("--multi_gpu",))
    }
    assert outcomes[()].returncode != 0
    assert "started 1 alone" in outcomes[()].stderr
    several = outcomes["--multi_gpu",]
    assert several.returncode == 0, several.stderr[-2000:]
    assert "2 worker(s)" in several.stderr
    assert json.loads(several.stdout)["finished"]


@pytest.mark.slow
def test_the_option_workers_names_one_that_was_killed(english: Corpus, tmp_path: Path) -> None:
    config = long_run(english, tmp_path / "run")
    command, environment = pretrain_command(config, tmp_path)
    with (tmp_path / "said").open("wb") as said:
        launcher = subprocess.Popen(
            [*command, "--workers", "2"], env=environment, stdout=subprocess.DEVNULL, stderr=said
        )
    wait_until(lambda: last_step(config.run) >= 1, [launcher])
    workers = [
        child
        for child in psutil.Process(launcher.pid).children()
        if "spawn_main" in " ".join(child.cmdline())
    ]
    workers[1].kill()
    assert launcher.wait(60) == 1
    text = (tmp_path / "said").read_text()
    assert (
        "worker 1 (signal SIGKILL); the same command resumes from the newest checkpoint"
        in " ".join(text.split())
    )
    assert "Traceback" not in text


def test_what_all_workers_refuse_is_said_once(
    english: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(english, tmp_path / "run")
    pretrain(RunConfig.model_validate(settings), Watcher(interrupt_at=1))

    def launch(
        config: LaunchConfig, work: Callable[..., object]
    ) -> Callable[..., dict[int, object]]:
        return lambda *given: {rank: work(*given) for rank in range(config.nproc_per_node)}

    monkeypatch.setattr(local_workers, "elastic_launch", launch)
    command, _ = pretrain_command(RunConfig.model_validate(settings), tmp_path)
    done = CliRunner().invoke(app, [*command[2:], "seed=9", "--workers", "2"])
    assert done.exit_code == 2
    assert " ".join(done.stderr.split()).count("made with other settings of seed") == 1


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        ("3", "3 workers cannot share 4 groups of rows evenly; accepted: [1, 2, 4]"),
        ("none", "'none' is neither a number from 1 on nor auto"),
        ("0", "'0' is neither a number from 1 on nor auto"),
    ],
)
def test_a_number_of_workers_that_cannot_be_is_refused(
    english: Corpus, tmp_path: Path, workers: str, message: str
) -> None:
    command, _ = pretrain_command(
        RunConfig.model_validate(settings_of(english, tmp_path / "run")), tmp_path
    )
    done = CliRunner().invoke(app, [*command[2:], "--workers", workers])
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "run").exists()


def test_workers_do_not_start_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_workers("auto") == max(1, torch.cuda.device_count())
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "outer")
    with pytest.raises(UserError, match="one that a launcher started"):
        count_workers("2")
