"""Loss weights in a run: they move what is learned and never who is served, and are the same after
a break and on more workers.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ernie_cmtl.cli.app import app
from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.settings import dump
from ernie_cmtl.training.checkpoint import checkpoints, load_state
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import (
    Watcher,
    final_tensors,
    logged_lines,
    same_tensors,
    tiny_settings,
    trace,
)
from tests.support.workers import started

RULES = ("classes", "uncertainty", "dwa")


def config_of(corpus: Corpus, run: Path, rule: str) -> RunConfig:
    settings = tiny_settings(corpus, run) | {"loss_weighting": {"rule": rule}}
    settings["training"]["heldout"] |= {"every": 2}
    return RunConfig.model_validate(settings)


@pytest.fixture(scope="module")
def finished(
    english: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[RunConfig, dict[str, Any]]]:
    """A finished run of each rule, and what it reported."""
    folder = tmp_path_factory.mktemp("weights")
    found = {}
    for rule in ("manual", *RULES):
        config = config_of(english, folder / rule, rule)
        found[rule] = config, pretrain(config, Watcher())
    return found


Finished = dict[str, tuple[RunConfig, dict[str, Any]]]


def decisions(config: RunConfig) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if name != "time"}
        for line in logged_lines(config.run, "loss_weighting")
    ]


@pytest.mark.parametrize("rule", RULES)
def test_budgets_and_samples_are_those_of_a_run_without(finished: Finished, rule: str) -> None:
    (manual, plain), (config, report) = finished["manual"], finished[rule]
    for name in ("consumed", "samples", "iterations"):
        assert report[name] == plain[name]
    for ours, theirs in zip(
        checkpoints(config.run / "checkpoints"),
        checkpoints(manual.run / "checkpoints"),
        strict=True,
    ):
        assert load_state(ours)[0] == load_state(theirs)[0]
    # Until two tasks meet in a step there is nothing to weigh.
    assert trace(config.run)[:5] == trace(manual.run)[:5]
    assert not same_tensors(final_tensors(config.run), final_tensors(manual.run))


def test_decisions_stand_in_the_log_with_their_numbers(finished: Finished) -> None:
    config, _ = finished["uncertainty"]
    lines = decisions(config)
    measured = {
        row["step"]: {name: score["loss"] for name, score in row["tasks"].items()}
        for row in logged_lines(config.run, "heldout")
    }
    assert [line["step"] for line in lines] == list(measured) == [0, 2, 4, 5, 6, 8, 10, 12]
    for line in lines:
        expected = {name: 1 / loss for name, loss in measured[line["step"]].items()}
        assert line["factors"] == pytest.approx(expected)
        assert all(0.5 <= weight <= 2 for weight in line["weights"].values())
    assert lines[0]["weights"] == {"knowledge_masking/masked_token": 1.0}
    ahead = lines[-1]["weights"]
    shares = {"knowledge_masking": 3 / 7, "capitalization": 2 / 7, "sentence_reordering": 2 / 7}
    total = sum(shares[name.partition("/")[0]] * weight for name, weight in ahead.items())
    assert total == pytest.approx(1)
    assert ahead["knowledge_masking/masked_token"] < ahead["capitalization/capital"]
    assert not decisions(finished["manual"][0])


def test_dwa_decides_from_its_second_measurement_on(finished: Finished) -> None:
    assert [line["step"] for line in decisions(finished["dwa"][0])] == [2, 4, 5, 6, 8, 10, 12]


@pytest.mark.parametrize("crash_at", [7, 11])
@pytest.mark.parametrize("rule", ["uncertainty", "dwa"])
def test_a_run_that_was_broken_off_is_the_unbroken_one(
    english: Corpus, tmp_path: Path, finished: Finished, rule: str, crash_at: int
) -> None:
    config, (unbroken, _) = config_of(english, tmp_path / "run", rule), finished[rule]
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, Watcher(crash_at=crash_at))
    pretrain(config, Watcher())
    assert decisions(config) == decisions(unbroken)
    assert trace(config.run) == trace(unbroken.run)
    assert same_tensors(final_tensors(config.run), final_tensors(unbroken.run))
    # A run that has ended and is called once more decides nothing anew.
    states = [
        load_state(checkpoints(one.run / "checkpoints")[-1])[1]["loss_weighting"]
        for one in (config, unbroken)
    ]
    assert states[0] == states[1]
    assert states[0]["step"] == 12


def test_two_workers_decide_as_one(english: Corpus, tmp_path: Path, finished: Finished) -> None:
    config = config_of(english, tmp_path / "run", "dwa")
    processes = started(config, tmp_path, 2)
    codes = [process.wait(250) for process in processes]
    assert codes == [0, 0], (tmp_path / "worker-0.err").read_text()[-2000:]
    alone, together = decisions(finished["dwa"][0]), decisions(config)
    assert [line["step"] for line in together] == [line["step"] for line in alone]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours["weights"] == pytest.approx(theirs["weights"], rel=1e-5)
    for (_, loss, _), (_, other, _) in zip(
        trace(config.run), trace(finished["dwa"][0].run), strict=True
    ):
        assert loss == pytest.approx(other, rel=1e-5)
    report = json.loads((tmp_path / "worker-0.out").read_text())
    assert report["consumed"] == finished["dwa"][1]["consumed"]


def test_the_terminal_says_what_each_loss_weighs(english: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(dump(config_of(english, tmp_path / "run", "uncertainty")))
    done = CliRunner().invoke(app, ["pretrain", str(path)])
    assert done.exit_code == 0, done.stderr
    assert "loss weights, step 8, stage second: knowledge_masking/masked_token 0." in done.stderr


def test_feedback_beside_a_rule_is_one_message(english: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(dump(config_of(english, tmp_path / "run", "dwa")))
    done = CliRunner().invoke(app, ["pretrain", str(path), "feedback.every=2"])
    assert done.exit_code == 2
    assert "accepted beside feedback: classes, manual" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
