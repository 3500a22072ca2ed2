"""The verb evaluate on the command line."""

import json
from pathlib import Path

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
