"""The verb evaluate on the command line."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from ernie_cmtl.cli.evaluate import judged_tables
from tests.support.command_line import Line, call, result_of, squeezed


def test_evaluate_measures_what_the_run_measured_at_its_end(line: Line) -> None:
    assert line.evaluated["heldout"] == line.pretrained["heldout"]
    for name, loss in line.pretrained["losses"].items():
        score = line.evaluated["heldout"][name]
        assert score["loss"] == loss
        assert 0 <= score["accuracy"] <= 1
        assert score["labels"] > 0


def test_evaluate_judges_runs_and_exports_without_training(line: Line, tmp_path: Path) -> None:
    pairs = [
        {"good": "It is a list.", "bad": "It are a list.", "group": "[a]"},
        {"good": "We are here.", "bad": "We is here."},
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (tmp_path / "sts.tsv").write_text(
        "sentence1\tsentence2\tscore\na b\ta b c\t3\nlists\tfiles\t1\nthe name\tits name\t2\n"
    )
    words = ("--minimal-pairs", tmp_path / "pairs.jsonl", "--sts", tmp_path / "sts.tsv")
    for name in (line.run, line.folder / "model"):
        found = result_of("evaluate", name, *words)
        assert set(found["minimal_pairs"]["groups"]) == {"[a]", "pairs"}
        assert found["minimal_pairs"]["pairs"] == 2
        assert set(found["sts"]) == {"pairs", "mean", "cls"}
        assert ("heldout" in found) == (name == line.run)
    shown = squeezed(call("evaluate", line.folder / "model", *words).stdout)
    assert "[a]" in shown
    assert f"{found['sts']['cls']['pearson']:.4f}" in shown


def test_evaluate_shows_how_related_the_tasks_of_a_run_are(line: Line) -> None:
    words = ("evaluate", line.run, "--relatedness", "--layers", "1")
    found = result_of(*words)["relatedness"]
    assert set(found) == {"layers", "samples", "used", "reliability", "cosine"}
    assert (found["layers"], found["samples"]) == (1, 8)
    shown = call(*words)
    assert shown.exit_code == 0
    assert "relatedness: cosines of gradients, last 1 layer(s)\n" in shown.stdout
    text = squeezed(shown.stdout)
    for task, others in found["cosine"].items():
        for cosine in (found["reliability"][task], *others.values()):
            assert ("unknown" if cosine is None else f"{cosine:+.2f}") in text


def test_what_is_not_known_of_two_tasks_is_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    found = {
        "layers": 2,
        "samples": 64,
        "used": {"a": 64, "b": 9, "c": 64},
        "reliability": {"a": 0.9, "b": 0.1, "c": 0.8},
        "cosine": {
            "a": {"b": None, "c": -0.25},
            "b": {"a": None, "c": None},
            "c": {"a": -0.25, "b": None},
        },
    }
    Console(width=200).print(*judged_tables({"relatedness": found}))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["a", "64", "+0.90", "-", "unknown", "-0.25"] in rows
    assert ["b", "9", "+0.10", "unknown", "-", "unknown"] in rows
