"""Feedback in a run: it moves budgets, keeps totals, and decides the same after a break."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.checkpoint import _sums, checkpoints
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import (
    Watcher,
    final_tensors,
    logged_lines,
    same_tensors,
    tiny_settings,
    trace,
)

STAGES = [
    {"name": "first", "budgets": {"knowledge_masking": 4}},
    {"name": "second", "budgets": {"knowledge_masking": 8, "capitalization": 8}},
]


def settings_of(corpus: Corpus, run: Path, **feedback: Any) -> RunConfig:
    settings = tiny_settings(corpus, run) | {"stages": STAGES}
    settings["data"]["rows_per_group"] = 8
    settings["training"] |= {"checkpoints": {"every": 5}}
    settings["optimizer"] |= {"learning_rate": 5e-3}
    return RunConfig.model_validate(settings | ({"feedback": feedback} if feedback else {}))


@pytest.fixture(scope="module")
def moved(
    english: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunConfig, dict[str, Any]]:
    config = settings_of(
        english, tmp_path_factory.mktemp("feedback") / "run", every=4, floor=0.25, cap=1.75
    )
    return config, pretrain(config, Watcher())


def test_decisions_stand_in_the_log_with_their_numbers(
    moved: tuple[RunConfig, dict[str, Any]],
) -> None:
    config, _ = moved
    rows = logged_lines(config.run, "feedback")
    assert [row["step"] for row in rows] == [8, 12, 16]
    for row in rows:
        left = 20 - row["step"]
        assert sum(row["budgets"].values()) == left
        assert sum(row["left"].values()) == pytest.approx(left)
        assert set(row["factors"]) == {"knowledge_masking", "capitalization"}
    # A factor is re-derived from the losses that were logged beside it.
    scores = {
        row["step"]: row["tasks"]["capitalization/capital"]["loss"]
        for row in logged_lines(config.run, "heldout")
    }
    losses = [scores[step] for step in (0, 4, 8)]
    learned = max(losses[0] - min(losses), 0.05 * losses[0])
    expected = 1 + (losses[2] - min(losses) + max(0.0, losses[1] - losses[2])) / learned
    assert rows[0]["factors"]["capitalization"] == pytest.approx(expected)


def test_the_tokens_go_where_the_decisions_say(moved: tuple[RunConfig, dict[str, Any]]) -> None:
    config, result = moved
    rows = {row["step"]: row["consumed"] for row in logged_lines(config.run)}
    for row in logged_lines(config.run, "feedback"):
        end = min(row["step"] + 4, 20)
        spent = {task: rows[end][task] - rows[row["step"]][task] for task in row["budgets"]}
        for task, budget in row["budgets"].items():
            part = budget / sum(row["budgets"].values())
            assert abs(spent[task] - part * sum(spent.values())) < 2 * 64
    assert sum(result["iterations"].values()) == pytest.approx(20)


@pytest.mark.parametrize("crash_at", [7, 11, 14])
def test_decisions_are_the_same_after_a_break(
    english: Corpus, tmp_path: Path, moved: tuple[RunConfig, dict[str, Any]], crash_at: int
) -> None:
    config = settings_of(english, tmp_path / "run", every=4, floor=0.25, cap=1.75)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, Watcher(crash_at=crash_at))
    pretrain(config, Watcher())
    unbroken = moved[0].run
    again, before = (
        [{**row, "time": None} for row in logged_lines(run, "feedback")]
        for run in (config.run, unbroken)
    )
    assert again == before
    assert trace(config.run) == trace(unbroken)
    assert same_tensors(final_tensors(config.run), final_tensors(unbroken))


def test_the_samples_of_every_stage_are_opened_before_the_first_step(
    english: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, open_stream = [], Run._open
    opened_at_a_step = []

    def note(run: Run, split: Any, *others: Any) -> SampleStream:
        opened.append(split)
        return open_stream(run, split, *others)

    class Counting(Observer):
        def logged(self, stage: str, line: dict[str, Any]) -> None:
            opened_at_a_step.append(opened.count("train"))

    monkeypatch.setattr(Run, "_open", note)
    pretrain(settings_of(english, tmp_path / "run", every=4), Counting())
    assert opened_at_a_step == [2] * 20


def test_with_floor_and_cap_of_one_nothing_moves(english: Corpus, tmp_path: Path) -> None:
    off, on = (
        settings_of(english, tmp_path / "off"),
        settings_of(english, tmp_path / "on", every=4, floor=1.0, cap=1.0),
    )
    without, still = pretrain(off, Watcher()), pretrain(on, Watcher())
    assert [row["budgets"] for row in logged_lines(on.run, "feedback")] == [
        {"knowledge_masking": left, "capitalization": left} for left in (6, 4, 2)
    ]
    assert still["consumed"] == without["consumed"]
    assert [row[:2] for row in trace(on.run)] == [row[:2] for row in trace(off.run)]
    assert same_tensors(final_tensors(on.run), final_tensors(off.run))


def test_a_task_that_is_made_worse_receives_more(
    english: Corpus, tmp_path: Path, moved: tuple[RunConfig, dict[str, Any]]
) -> None:
    config = settings_of(english, tmp_path / "run", every=4, floor=0.25, cap=1.75)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, Watcher(crash_at=12))
    # Between steps 10 and 12 somebody turns the signs of the head around.
    weights = checkpoints(config.run / "checkpoints")[-1] / "model.safetensors"
    assert weights.parent.name == "step-10"
    changed = {
        name: -10 * value if "capitalization/capital" in name else value
        for name, value in load_file(weights).items()
    }
    assert any("capitalization/capital" in name for name in changed)
    save_file(changed, weights)
    (weights.parent / "SHA256SUMS").write_text(_sums(weights.parent))
    pretrain(config, Watcher())
    calm, upset = (
        {row["step"]: row for row in logged_lines(run, "feedback")}
        for run in (moved[0].run, config.run)
    )
    assert upset[8]["budgets"] == calm[8]["budgets"]
    assert upset[12]["factors"]["capitalization"] > calm[12]["factors"]["capitalization"] + 0.5
    assert upset[12]["budgets"]["capitalization"] > calm[12]["budgets"]["capitalization"]
    assert sum(upset[12]["budgets"].values()) == 8
    after = {row["step"]: row["consumed"]["capitalization"] for row in logged_lines(config.run)}
    before = {row["step"]: row["consumed"]["capitalization"] for row in logged_lines(moved[0].run)}
    assert after[16] - after[12] > before[16] - before[12]
