"""What a run says of its retention is what it measured, however often it was broken off."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.verbs.evaluate import evaluate_run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import Watcher, tiny_settings, with_training

HEADS = ["knowledge_masking/masked_token", "capitalization/capital", "sentence_reordering/order"]


def heldout_lines(run: Path) -> list[dict[str, Any]]:
    rows = [
        json.loads(line)
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return [row for row in rows if row["kind"] == "heldout"]


def make_config(corpus: Corpus, run: Path) -> RunConfig:
    """Two stages, steps 1-5 and 6-12, scored at every other step; checkpoints at steps 4, 8 and
    12.
    """
    return with_training(RunConfig.model_validate(tiny_settings(corpus, run)), heldout={"every": 2})


@pytest.fixture(scope="module")
def unbroken(
    english: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    return run, pretrain(make_config(english, run), Watcher())


def test_the_table_of_a_run_has_every_score_once(unbroken: tuple[Path, dict[str, Any]]) -> None:
    run, _ = unbroken
    with (run / "retention.csv").open(encoding="utf-8") as stream:
        found = [
            (
                row["stage"],
                int(row["step"]),
                f"{row['task']}/{row['head']}",
                row["metric"],
                float(row["value"]),
            )
            for row in csv.DictReader(stream)
        ]
    stages = {
        0: "start",
        2: "first",
        4: "first",
        5: "first",
        **dict.fromkeys((6, 8, 10, 12), "second"),
    }
    lines = {line["step"]: line["tasks"] for line in heldout_lines(run)}
    assert list(lines) == list(stages)
    assert found == [
        (stages[step], step, head, metric, lines[step][head][metric])
        for step in stages
        for head in HEADS
        for metric in ("loss", "accuracy", "majority", "labels")
    ]


@pytest.mark.parametrize("crash_at", [3, 7, 11])
def test_a_resumed_run_leaves_the_table_of_an_unbroken_one(
    unbroken: tuple[Path, dict[str, Any]], english: Corpus, tmp_path: Path, crash_at: int
) -> None:
    config = make_config(english, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, Watcher(crash_at=crash_at))
    result = pretrain(config, Watcher())
    run, whole = unbroken
    assert (config.run / "retention.csv").read_bytes() == (run / "retention.csv").read_bytes()
    assert result["retention"] == whole["retention"]


def test_the_matrix_of_a_run_holds_what_it_measured_at_the_ends_of_its_stages(
    unbroken: tuple[Path, dict[str, Any]],
) -> None:
    run, result = unbroken
    lines = {line["step"]: line["tasks"] for line in heldout_lines(run)}
    matrix = result["retention"]["matrix"]
    assert [(row["stage"], row["step"]) for row in matrix] == [
        ("start", 0),
        ("first", 5),
        ("second", 12),
    ]
    for row in matrix:
        for head in HEADS:
            assert row["tasks"][head] == {
                name: lines[row["step"]][head][name] for name in ("loss", "accuracy", "majority")
            }
    measures = result["retention"]["heads"]["accuracy"]
    masked = [lines[step][HEADS[0]]["accuracy"] for step in (5, 6, 8, 10, 12)]
    assert measures[HEADS[0]]["backward_transfer"] == pytest.approx(masked[-1] - masked[0])
    assert measures[HEADS[0]]["stability_gap"] == pytest.approx(masked[0] - min(masked[1:]))
    # Tasks of the second stage were prepared by the first one, and have nothing to forget.
    for head in HEADS[1:]:
        gained = lines[5][head]["accuracy"] - lines[0][head]["accuracy"]
        assert measures[head]["forward_transfer"] == pytest.approx(gained)
        assert measures[head]["forgetting"] is None


def test_evaluate_reports_the_retention_up_to_its_step(
    unbroken: tuple[Path, dict[str, Any]],
) -> None:
    run, result = unbroken
    assert evaluate_run(run, None)["retention"] == result["retention"]
    assert [row["stage"] for row in evaluate_run(run, 8)["retention"]["matrix"]] == [
        "start",
        "first",
    ]


@pytest.mark.parametrize("left", [None, "train"])
def test_a_run_that_logged_no_held_out_scores_is_evaluated_all_the_same(
    tiny_config: RunConfig, left: str | None
) -> None:
    pretrain(tiny_config, Watcher())
    metrics = tiny_config.run / "metrics.jsonl"
    kept = [
        line
        for line in metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        if f'"kind": "{left}"' in line
    ]
    metrics.write_text("".join(kept), encoding="utf-8") if left else metrics.unlink()
    found = evaluate_run(tiny_config.run, None)
    assert set(found["heldout"]) == set(HEADS)
    assert found["retention"]["matrix"] == []
    assert {
        value for score in found["retention"]["summary"].values() for value in score.values()
    } == {None}


@pytest.mark.parametrize(("every", "steps"), [(0, [3]), (2, [0, 2, 3])])
def test_a_run_of_one_stage_is_scored_at_its_start_if_it_is_scored_inside(
    english: Corpus, tmp_path: Path, every: int, steps: list[int]
) -> None:
    settings = tiny_settings(english, tmp_path / "run")
    settings["stages"] = [{"name": "only", "budgets": {"capitalization": 3}}]
    pretrain(with_training(RunConfig.model_validate(settings), heldout={"every": every}), Watcher())
    assert [line["step"] for line in heldout_lines(tmp_path / "run")] == steps
