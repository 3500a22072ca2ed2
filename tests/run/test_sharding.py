"""A sharded run from beginning to end: its checkpoints are those of any other, and any number of
workers resumes from them.
"""

from pathlib import Path

import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import Watcher, final_tensors, logged_lines, tiny_settings, trace
from tests.support.workers import together


def part(config: RunConfig, stop_at: int) -> int:
    """Train as far as a step, or to the end; the step."""
    return int(pretrain(config, Watcher(interrupt_at=stop_at))["steps"])


def test_two_sharded_workers_then_one_then_two_end_as_one(english: Corpus, tmp_path: Path) -> None:
    settings = tiny_settings(english, tmp_path / "alone")
    settings["encoder"]["layers"] = 1
    alone = RunConfig.model_validate(settings)
    pretrain(alone, Watcher())
    settings["training"]["sharding"] = "full"
    settings["training"]["checkpoints"]["asynchronous"] = True
    config = RunConfig.model_validate(settings | {"run": tmp_path / "run"})
    assert together(part, config, 5, folder=tmp_path) == [6, 6]
    assert part(config, 8) == 9
    assert together(part, config, 0, folder=tmp_path) == [12, 12]
    for (step, loss, norm), (other_step, other_loss, other_norm) in zip(
        trace(alone.run), trace(config.run), strict=True
    ):
        assert step == other_step
        assert other_loss == pytest.approx(loss, rel=1e-5)
        assert other_norm == pytest.approx(norm, rel=1e-4)
    expected, found = final_tensors(alone.run), final_tensors(config.run)
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in expected.items()
    }
    assert all((found[name] - value).abs().max() < 1e-5 for name, value in expected.items())
    assert [line["workers"] for line in logged_lines(config.run, "workers")] == [1, 2]
    ends = {line["step"]: line["tasks"] for line in logged_lines(alone.run, "heldout")}
    for line in logged_lines(config.run, "heldout"):
        for head, score in ends.get(line["step"], {}).items():
            assert line["tasks"][head]["loss"] == pytest.approx(score["loss"], rel=1e-5)
