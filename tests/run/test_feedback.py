"""Feedback in a run: it moves budgets, keeps totals, and decides the same after a break."""

from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store import Corpus
from ernie_cmtl.run.pretrain import pretrain
from tests.conftest import tiny_settings
from tests.run.test_pretrain import Watcher, _final, _lines, _same, _trace

STAGES = [
    {"name": "first", "budgets": {"knowledge_masking": 4}},
    {"name": "second", "budgets": {"knowledge_masking": 8, "capitalization": 8}},
]


def settings_of(corpus: Corpus, run: Path, **feedback: Any) -> RunConfig:
    settings = tiny_settings(corpus, run) | {"stages": STAGES}
    settings["training"] |= {"checkpoint_every": 5}
    settings["optimizer"] |= {"learning_rate": 5e-3}
    return RunConfig.model_validate(settings | ({"feedback": feedback} if feedback else {}))


@pytest.fixture(scope="module")
def moved(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, dict[str, Any]]:
    config = settings_of(english, tmp_path_factory.mktemp("feedback") / "run", every=4, floor=0.25, cap=1.75)
    return config, pretrain(config, Watcher())


def test_decisions_stand_in_the_log_with_their_numbers(moved: tuple[RunConfig, dict[str, Any]]) -> None:
    config, _ = moved
    rows = _lines(config.run, "feedback")
    assert [row["step"] for row in rows] == [8, 12, 16]
    for row in rows:
        left = 20 - row["step"]
        assert sum(row["budgets"].values()) == left
        assert sum(row["left"].values()) == pytest.approx(left)
        assert set(row["factors"]) == {"knowledge_masking", "capitalization"}
    # A factor is re-derived from the losses that were logged beside it.
    scores = {row["step"]: row["tasks"]["capitalization/capital"]["loss"] for row in _lines(config.run, "heldout")}
    losses = [scores[step] for step in (0, 4, 8)]
    learned = max(losses[0] - min(losses), 0.05 * losses[0])
    expected = 1 + (losses[2] - min(losses) + max(0.0, losses[1] - losses[2])) / learned
    assert rows[0]["factors"]["capitalization"] == pytest.approx(expected)


def test_the_tokens_go_where_the_decisions_say(moved: tuple[RunConfig, dict[str, Any]]) -> None:
    config, result = moved
    rows = {row["step"]: row["consumed"] for row in _lines(config.run)}
    for row in _lines(config.run, "feedback"):
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
    again, before = ([{**row, "time": None} for row in _lines(run, "feedback")] for run in (config.run, unbroken))
    assert again == before
    assert _trace(config.run) == _trace(unbroken)
    assert _same(_final(config.run), _final(unbroken))


def test_with_floor_and_cap_of_one_nothing_moves(english: Corpus, tmp_path: Path) -> None:
    off, on = settings_of(english, tmp_path / "off"), settings_of(english, tmp_path / "on", every=4, floor=1.0, cap=1.0)
    without, still = pretrain(off, Watcher()), pretrain(on, Watcher())
    assert [row["budgets"] for row in _lines(on.run, "feedback")] == [
        {"knowledge_masking": left, "capitalization": left} for left in (6, 4, 2)
    ]
    assert still["consumed"] == without["consumed"]
    assert [row[:2] for row in _trace(on.run)] == [row[:2] for row in _trace(off.run)]
    assert _same(_final(on.run), _final(off.run))
