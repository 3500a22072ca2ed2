"""A run as a whole: it learns, resumes exactly, stops cleanly, and is the same for one worker and
two.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.training.checkpoint import checkpoints
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.corpora import build_corpus, sample_texts
from tests.support.runs import (
    Watcher,
    final_tensors,
    logged_lines,
    pretrain_command,
    same_tensors,
    tiny_settings,
    trace,
    with_training,
)
from tests.support.workers import started


@pytest.fixture(scope="module")
def unbroken(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    pretrain(RunConfig.model_validate(tiny_settings(english, run)), Watcher())
    return run


def _launched(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Train with two workers of torchrun."""
    command, environment = pretrain_command(config, folder, workers=2)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


def _forked(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Train with two workers without a launcher."""
    assert [process.wait(240) for process in started(config, folder, 2)] == [0, 0]
    return dict(json.loads((folder / "worker-0.out").read_text()))


@pytest.mark.parametrize("crash_at", [3, 6, 9])
def test_a_broken_off_run_goes_on_bit_equal(
    unbroken: Path, tiny_config: RunConfig, crash_at: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        pretrain(tiny_config, Watcher(crash_at=crash_at))
    watcher = Watcher()
    pretrain(tiny_config, watcher)
    assert watcher.began_at == crash_at // 4 * 4
    assert trace(tiny_config.run) == trace(unbroken)
    assert same_tensors(final_tensors(tiny_config.run), final_tensors(unbroken))


def test_a_killed_process_goes_on_bit_equal(
    unbroken: Path, tiny_config: RunConfig, tmp_path: Path
) -> None:
    command, environment = pretrain_command(tiny_config, tmp_path)
    metrics = tiny_config.run / "metrics.jsonl"
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (
        not metrics.exists() or metrics.read_text().count("\n") < 6
    ):
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert metrics.read_text().count("\n") >= 6
    pretrain(tiny_config, Watcher())
    assert [row[0] for row in trace(tiny_config.run)] == list(range(1, 13))
    # Another process may use other vector code for a first call, never another result on the same
    # machine and threads.
    assert trace(tiny_config.run) == trace(unbroken)
    assert same_tensors(final_tensors(tiny_config.run), final_tensors(unbroken))


def test_interrupt_saves_the_running_step_and_ends_cleanly(
    unbroken: Path, tiny_config: RunConfig
) -> None:
    watcher = Watcher(interrupt_at=6)
    result = pretrain(tiny_config, watcher)
    assert result["interrupted"]
    assert not result["finished"]
    # The step that the signal came in is done and saved; it is none that is saved anyway.
    assert result["steps"] == watcher.stopped_at == 7
    assert checkpoints(tiny_config.run / "checkpoints")[-1].name == "step-7"
    assert not pretrain(tiny_config, Watcher())["interrupted"]
    assert [row[:2] for row in trace(tiny_config.run)] == [row[:2] for row in trace(unbroken)]
    assert same_tensors(final_tensors(tiny_config.run), final_tensors(unbroken))


def test_a_run_in_short_parts_ends_as_an_unbroken_one(
    unbroken: Path, tiny_config: RunConfig
) -> None:
    # Time is always up: each part takes the one step that is under way.
    config = with_training(tiny_config, max_hours=1e-9)
    for step in range(1, 4):
        watcher = Watcher()
        result = pretrain(config, watcher)
        assert (result["steps"], result["finished"], result["interrupted"]) == (step, False, False)
        assert (watcher.began_at, watcher.stopped_at) == (step - 1, step)
    result = pretrain(with_training(config, max_hours=1), Watcher())
    assert (result["steps"], result["finished"], result["interrupted"]) == (12, True, False)
    assert [row[:2] for row in trace(config.run)] == [row[:2] for row in trace(unbroken)]
    assert same_tensors(final_tensors(config.run), final_tensors(unbroken))


def test_all_workers_stop_when_the_time_of_the_main_one_is_up(
    tiny_config: RunConfig, tmp_path: Path
) -> None:
    result = _forked(with_training(tiny_config, max_hours=1e-9), tmp_path)
    assert (result["steps"], result["finished"], result["interrupted"]) == (1, False, False)
    assert [path.name for path in checkpoints(tiny_config.run / "checkpoints")] == ["step-1"]


def test_the_checkpoint_before_the_final_decay_is_kept_and_gives_the_same_end(
    tiny_config: RunConfig, tmp_path: Path
) -> None:
    optimizer = tiny_config.optimizer.model_copy(update={"schedule": "wsd", "decay_fraction": 0.5})
    config = with_training(
        tiny_config.model_copy(update={"optimizer": optimizer}), checkpoints={"keep": 1}
    )
    # Broken off after the decay has begun: the part that goes on must keep the checkpoint too.
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, Watcher(crash_at=9))
    assert [path.name for path in checkpoints(config.run / "checkpoints")] == ["step-6", "step-8"]
    pretrain(config, Watcher())
    assert [path.name for path in checkpoints(config.run / "checkpoints")] == ["step-6", "step-12"]
    rates = {row["step"]: row["learning_rate"] for row in logged_lines(config.run)}
    # A line tells the rate that led to its step.
    assert rates[6] == rates[7] == 1e-3 > rates[8]

    grown = config.model_copy(update={"run": tmp_path / "grown"})
    shutil.copytree(config.run / "checkpoints" / "step-6", grown.run / "checkpoints" / "step-6")
    watcher = Watcher()
    pretrain(grown, watcher)
    assert watcher.began_at == 6
    assert same_tensors(final_tensors(grown.run), final_tensors(config.run))


def test_computing_activations_again_changes_nothing(
    unbroken: Path, tiny_config: RunConfig
) -> None:
    # Dropout is on: the second time must see the same noise.
    assert tiny_config.encoder.dropout > 0
    pretrain(with_training(tiny_config, gradient_checkpointing=True), Watcher())
    assert trace(tiny_config.run) == trace(unbroken)
    assert same_tensors(final_tensors(tiny_config.run), final_tensors(unbroken))


@pytest.mark.parametrize(
    ("train", "again"),
    [
        (_forked, False),
        *(pytest.param(_launched, again, marks=pytest.mark.slow) for again in (False, True)),
    ],
)
def test_two_gloo_workers_equal_one_worker_with_accumulation(
    unbroken: Path,
    tiny_config: RunConfig,
    tmp_path: Path,
    train: Callable[[RunConfig, Path], dict[str, Any]],
    again: bool,
) -> None:
    result = train(with_training(tiny_config, gradient_checkpointing=again), tmp_path)
    assert result["steps"] == 12
    assert [row["step"] for row in result["retention"]["matrix"]] == [0, 5, 12]
    alone = trace(unbroken)
    together = trace(tiny_config.run)
    assert [row[0] for row in together] == [row[0] for row in alone]
    for (_, loss, norm), (_, other_loss, other_norm) in zip(alone, together, strict=True):
        assert other_loss == pytest.approx(loss, rel=1e-6)
        assert other_norm == pytest.approx(norm, rel=1e-5)
    for name, weight in final_tensors(unbroken).items():
        torch.testing.assert_close(
            final_tensors(tiny_config.run)[name], weight, rtol=1e-3, atol=1e-5
        )
    assert logged_lines(tiny_config.run)[-1]["consumed"] == logged_lines(unbroken)[-1]["consumed"]


def test_loader_processes_do_not_change_the_result(unbroken: Path, tiny_config: RunConfig) -> None:
    data = tiny_config.data.model_copy(update={"loader_workers": 2})
    pretrain(tiny_config.model_copy(update={"data": data}), Watcher())
    assert trace(tiny_config.run) == trace(unbroken)


def test_the_consumed_tokens_follow_the_stage_table(unbroken: Path) -> None:
    rows = logged_lines(unbroken)
    first, last = rows[4]["consumed"], rows[-1]["consumed"]
    assert first["capitalization"] == first["sentence_reordering"] == 0
    second = {task: last[task] - first[task] for task in last}
    total = sum(second.values())
    for task, budget in {
        "knowledge_masking": 3,
        "capitalization": 2,
        "sentence_reordering": 2,
    }.items():
        assert abs(second[task] - total * budget / 7) < 64


def test_held_out_scores_are_measured_before_the_first_step_and_at_each_stage_end(
    unbroken: Path,
) -> None:
    rows = logged_lines(unbroken, "heldout")
    assert [(row["step"], row["stage"]) for row in rows] == [
        (0, "start"),
        (5, "first"),
        (12, "second"),
    ]
    assert set(rows[0]["tasks"]) == {
        "knowledge_masking/masked_token",
        "capitalization/capital",
        "sentence_reordering/order",
    }


def test_a_finished_run_is_not_trained_again(unbroken: Path, english: Corpus) -> None:
    before = final_tensors(unbroken)
    result = pretrain(RunConfig.model_validate(tiny_settings(english, unbroken)), Watcher())
    assert result["steps"] == 12
    assert result["losses"]
    assert same_tensors(final_tensors(unbroken), before)


def test_a_run_learns(english: Corpus, tmp_path: Path) -> None:
    settings = tiny_settings(english, tmp_path / "run")
    settings["stages"] = [
        {"name": "all", "budgets": {"knowledge_masking": 60, "capitalization": 60}}
    ]
    settings["data"]["rows_per_group"] = 8
    settings["optimizer"] = {"learning_rate": 5e-3, "warmup_steps": 5}
    result = pretrain(RunConfig.model_validate(settings), Watcher())
    first, last = logged_lines(tmp_path / "run")[0]["tasks"], result["heldout"]
    # It began with the frequencies of the tokens.
    assert (
        last["knowledge_masking/masked_token"]["loss"]
        < first["knowledge_masking/masked_token"]["loss"] - 0.5
    )
    # Four of five words are lower-case.
    assert last["capitalization/capital"]["accuracy"] > 0.85


def test_other_settings_in_the_same_folder_are_refused(unbroken: Path, english: Corpus) -> None:
    settings = tiny_settings(english, unbroken) | {"seed": 2}
    with pytest.raises(UserError, match="other settings of seed"):
        pretrain(RunConfig.model_validate(settings), Watcher())


def test_another_corpus_in_the_same_folder_is_refused(
    unbroken: Path, english: Corpus, tmp_path: Path
) -> None:
    build_corpus(tmp_path, sample_texts("en", 30))
    settings = tiny_settings(english, unbroken) | {"corpus": str(tmp_path / "corpus")}
    with pytest.raises(UserError, match="another corpus"):
        pretrain(RunConfig.model_validate(settings), Watcher())


def test_a_run_whose_rows_grow_goes_on_bit_equal_in_its_second_stage(
    english: Corpus, tmp_path: Path
) -> None:
    def config(name: str) -> RunConfig:
        settings = tiny_settings(english, tmp_path / name)
        settings["stages"][0] |= {"row_length": 32, "rows": 16, "rows_per_group": 4}
        return RunConfig.model_validate(settings)

    whole = pretrain(config("whole"), Watcher())
    # Step 4 is saved in the first stage, steps 8 and 12 in the second.
    for crash_at in (7, 10):
        broken = config(f"broken-{crash_at}")
        with pytest.raises(KeyboardInterrupt):
            pretrain(broken, Watcher(crash_at=crash_at))
        result = pretrain(broken, Watcher())
        assert trace(broken.run) == trace(tmp_path / "whole")
        assert same_tensors(final_tensors(broken.run), final_tensors(tmp_path / "whole"))
        assert result["samples"] == whole["samples"]
        assert result["consumed"] == whole["consumed"]
    # Stages compare: both are judged on rows of one length.
    labels = [
        {name: score["labels"] for name, score in row["tasks"].items()}
        for row in logged_lines(tmp_path / "whole", "heldout")
    ]
    assert labels[0] == labels[1] == labels[2]


def test_the_size_of_a_group_may_change_when_a_run_goes_on_and_the_rows_may_not(
    tiny_config: RunConfig,
) -> None:
    def with_first_stage(**shape: int) -> RunConfig:
        settings = tiny_config.model_dump(mode="json")
        settings["stages"][0] |= shape
        return RunConfig.model_validate(settings)

    pretrain(with_first_stage(rows=16), Watcher(interrupt_at=1))
    with pytest.raises(UserError, match="other settings of stages"):
        pretrain(with_first_stage(rows=32), Watcher())
    assert pretrain(with_first_stage(rows=16, rows_per_group=8), Watcher())["steps"] == 12


def test_a_worker_count_that_does_not_divide_is_refused(tiny_config: RunConfig) -> None:
    with pytest.raises(
        UserError, match=r"3 workers cannot share 4 groups .* accepted: \[1, 2, 4\]"
    ):
        tiny_config.check_workers(3)
    # Every stage must be shared evenly, and only those of the run.
    stages = [tiny_config.stages[0], tiny_config.stages[1].model_copy(update={"rows": 6})]
    uneven = tiny_config.model_copy(update={"stages": stages})
    uneven.check_workers(1)
    with pytest.raises(
        UserError, match=r"stage 'second': 2 workers cannot share 3 groups .* accepted: \[1, 3\]"
    ):
        uneven.check_workers(2)


def test_chinese_runs_too(chinese: Corpus, tmp_path: Path) -> None:
    settings = tiny_settings(chinese, tmp_path / "run")
    settings["stages"] = [
        {"name": "all", "budgets": {"knowledge_masking": 3, "sentence_reordering": 3}}
    ]
    assert pretrain(RunConfig.model_validate(settings), Watcher())["steps"] == 6


def test_a_corpus_that_is_cut_while_the_run_trains_is_named_at_the_next_stage(
    english: Corpus, tmp_path: Path
) -> None:
    shutil.copytree(english.folder, tmp_path / "corpus")
    corpus = Corpus(tmp_path / "corpus")
    # A layer that no task of the run reads: to read it would end the process.
    layer = corpus.folder / "shards" / "00000" / "retrieved.npy"
    assert layer.is_file()

    class Cutter(Watcher):
        def logged(self, stage: str, line: dict[str, Any]) -> None:
            if line["step"] == 2:
                os.truncate(layer, 100)

    config = RunConfig.model_validate(tiny_settings(corpus, tmp_path / "run"))
    with pytest.raises(UserError, match=r"00000/retrieved.npy has 100 bytes, and had \d+"):
        pretrain(config, Cutter())
    assert [line["step"] for line in logged_lines(tmp_path / "run")][-1] == 5
    shutil.copyfile(english.folder / "shards" / "00000" / "retrieved.npy", layer)
    assert pretrain(config, Watcher())["finished"]
