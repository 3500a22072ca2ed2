"""The verb pretrain on the command line."""

import json
import math
from pathlib import Path

import pytest

from tests.support.command_line import Line, call, result_of


def test_pretrain_reports_the_run(line: Line) -> None:
    found = line.pretrained
    logged = [
        json.loads(text)
        for text in (line.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert (found["run"], found["steps"], found["stages"]) == (str(line.run), 6, ["words", "order"])
    assert (
        found["consumed"] == [entry for entry in logged if entry["kind"] == "train"][-1]["consumed"]
    )
    assert set(found["consumed"]) == {"knowledge_masking", "sentence_reordering"}
    assert sum(found["consumed"].values()) <= 6 * 4 * 64
    assert set(found["losses"]) == {"knowledge_masking/masked_token", "sentence_reordering/order"}
    assert 0 < found["losses"]["sentence_reordering/order"] < 2 * math.log(9)
    assert found["real_tokens_per_second"] * found["seconds"] == pytest.approx(
        sum(found["consumed"].values()), rel=0.02
    )


def test_a_finished_run_is_not_trained_again(line: Line) -> None:
    before = (line.run / "checkpoints" / "step-6" / "model.safetensors").stat().st_mtime_ns
    again = result_of("pretrain", line.config)
    assert (again["steps"], again["losses"]) == (6, line.pretrained["losses"])
    assert (line.run / "checkpoints" / "step-6" / "model.safetensors").stat().st_mtime_ns == before


def test_a_planned_stop_is_no_failure(line: Line, tmp_path: Path) -> None:
    words = ("pretrain", line.config, f"run={tmp_path / 'run'}")
    first = result_of(*words, "training.max_hours=0.0000001")
    assert (first["steps"], first["finished"], first["interrupted"]) == (1, False, False)
    second = result_of(*words)
    assert (second["steps"], second["finished"], second["losses"]) == (
        6,
        True,
        line.pretrained["losses"],
    )


def test_people_see_what_each_stage_did_to_each_task(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    matrix = line.evaluated["retention"]["matrix"]
    assert line.evaluated["retention"] == line.pretrained["retention"]
    assert [(row["stage"], row["step"]) for row in matrix] == [
        ("start", 0),
        ("words", 3),
        ("order", 6),
    ]
    for words in (("evaluate", line.run), ("pretrain", line.config)):
        lines = call(*words).stdout.partition("retention")[2].splitlines()
        (header,) = (text for text in lines if "task, head" in text)
        assert header.index("start") < header.index("S1") < header.index("S2")
        first_words = [text.split()[0] for text in lines if text.strip()]
        for name in line.evaluated["heldout"]:
            task, _, head = name.partition("/")
            assert first_words.index(task) < first_words.index(head)
