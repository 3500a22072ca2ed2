"""A suite goes on where it was stopped, its cells are valid runs, and its table says what the
numbers say.
"""

import json
import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import compare
import psutil
import pytest
import yaml
from comparison import collect, markdown, metrics_of, paired_difference, plot
from suite import SCALES, Cell, load_scale, load_suite, make_cell

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.settings import load
from ernie_cmtl.verbs.plan import plan
from tests.support.command_line import result_of
from tests.support.judging import OBVIOUS
from tests.support.runs import ROOT, wait_until
from tests.support.suites import small_suite

SUITES = sorted(path for path in SCALES.parent.glob("*.yaml") if path != SCALES)
COLA = Path(__file__).parents[2] / "configs/finetune/cola.yaml"


@pytest.mark.slow
def test_a_suite_goes_on_after_its_first_cell(
    english: Corpus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [
        str(small_suite(tmp_path)),
        "--corpus",
        str(english.folder),
        "--output",
        str(tmp_path / "out"),
        "--steps",
        "5",
    ]
    words += ["--minimal-pairs", str(OBVIOUS), "--threads", "1"]
    verbs: list[str] = []

    def here(threads: int | None, *given: str | Path) -> Any:
        """Run a verb in this process, where it starts sooner; the second cell is killed once."""
        verbs.append(str(given[0]))
        if len(verbs) == 6:
            raise KeyboardInterrupt
        return result_of(*given)

    monkeypatch.setattr(compare, "verb", here)
    with pytest.raises(KeyboardInterrupt):
        compare.main(words)
    # Two views and the pairs; the second cell is trained and not yet judged.
    assert verbs == ["pretrain", "evaluate", "evaluate", "evaluate", "pretrain", "evaluate"]
    assert compare.main(words) == 0
    assert verbs[6:] == ["evaluate", "evaluate", "evaluate"]
    capsys.readouterr()
    assert compare.main(words) == 0
    assert len(verbs) == 9
    results = {
        cell: json.loads((tmp_path / f"out/results/{cell}-seed1.json").read_text())
        for cell in ("plain", "both")
    }
    config = yaml.safe_load((tmp_path / "out/configs/both-seed1.yaml").read_text())
    assert {name: task["budget"] for name, task in config["preset"]["tasks"].items()} == {
        "knowledge_masking": 3,
        "capitalization": 2,
    }
    assert {cell: result["training"]["steps"] for cell, result in results.items()} == {
        "plain": 5,
        "both": 5,
    }
    alike = {cell: result["heldout"]["alike"]["heldout"] for cell, result in results.items()}
    assert set(alike["plain"]) == {"knowledge_masking/masked_token"}
    assert set(alike["both"]) == {"knowledge_masking/masked_token", "capitalization/capital"}
    # The other view says nothing of capitals, which it leaves masked.
    assert "capitalization/capital" in results["both"]["heldout"]["tokens"]["heldout"]
    assert not {
        metric
        for metric in metrics_of(results["both"])
        if metric.startswith("capitalization/capital, tokens")
    }
    labels = {scores["knowledge_masking/masked_token"]["labels"] for scores in alike.values()}
    assert len(labels) == 1
    assert results["both"]["minimal_pairs"]["obvious_pairs.jsonl"]["minimal_pairs"]["pairs"] == 12
    table = (tmp_path / "out/table.md").read_text()
    assert capsys.readouterr().out.strip() == table.strip()
    assert "One seed has no spread" in table
    capital = alike["both"]["capitalization/capital"]["accuracy"]
    assert f"| capitalization/capital, alike: accuracy | - | {capital:.4f} |" in table
    # What was made with other settings is not taken for the same.
    assert compare.main([*words, "--steps", "6"]) == 2
    assert "was made with other settings" in capsys.readouterr().err


@pytest.mark.parametrize("scale", ["tiny", "small", "base"])
def test_recipes_are_fine_tuned_with_the_settings_of_the_scale(
    english: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: str
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(
        compare,
        "verb",
        lambda threads, *words: calls.append([str(word) for word in words]) or {"mean": 0.5},
    )
    settings, recipe = load_scale(scale), COLA
    cell = make_cell(
        load_suite(small_suite(tmp_path)), "plain", 1, settings, 5, tmp_path, english.folder
    )
    (tmp_path / "results").mkdir()
    (tmp_path / "configs").mkdir()
    given = Namespace(threads=None, minimal_pairs=None, recipes=[recipe], data=tmp_path)
    assert compare.run_cell(cell, tmp_path, given)["downstream"] == {"cola": {"mean": 0.5}}
    assert calls[-1][:4] == ["finetune", cell.settings["run"], "--task", str(recipe)]
    words = calls[-1][6:]
    assert words == settings["finetune"]
    tuned = load(Recipe, recipe, words)
    assert tuned.train.seeds == (1,)
    assert tuned.train.batch_size == 64


def test_verbs_run_in_processes_of_their_own(capfd: pytest.CaptureFixture[str]) -> None:
    assert {"knowledge_masking", "sentence_order"} <= {
        task["name"] for task in compare.verb(1, "tasks")
    }
    with pytest.raises(UserError, match="prepare ended with 2"):
        compare.verb(None, "prepare")
    assert "--output" in capfd.readouterr().err


def result(cell: str, seed: int, loss: float, accuracy: float, downstream: float) -> dict[str, Any]:
    scores = {"t/h": {"loss": loss, "accuracy": accuracy, "labels": 9}}
    found = {"rte": {"metric": "accuracy", "mean": downstream, "std": 0.0, "scores": []}}
    return {
        "cell": cell,
        "seed": seed,
        "asked": {"heldout": {"v": ["tasks.t.masked_tokens=false"]}},
        "training": {"consumed": {"a": 1_000_000, "b": 500_000}},
        "heldout": {"v": {"heldout": scores}},
        "minimal_pairs": {},
        "downstream": found,
    }


RESULTS = [
    result("base", 1, 2.0, 0.50, 0.60),
    result("base", 2, 2.2, 0.54, 0.62),
    result("base", 3, 2.1, 0.52, 0.64),
    result("new", 1, 1.9, 0.51, 0.60),
    result("new", 2, 2.0, 0.53, 0.66),
    result("new", 3, 1.95, 0.56, 0.65),
]


def test_the_table_has_mean_spread_and_paired_difference() -> None:
    table = markdown("Title", RESULTS, "base")
    rows = {
        cells[0]: cells[1:]
        for line in table.splitlines()
        if (cells := [cell.strip() for cell in line.strip("|").split("|")])
    }
    # By hand: losses 2.0, 2.2, 2.1 and 1.9, 2.0, 1.95; their standard deviations 0.1 and 0.05.
    assert "| t/h, v: loss | 2.1000 ± 0.1000 | 1.9500 ± 0.0500 |" in table
    # Differences -0.1, -0.2, -0.15: mean -0.15, deviation 0.05, and 4.3027 x 0.05 / sqrt 3 =
    # 0.1242.
    assert rows["t/h, v: loss"] == ["-0.1500 (-0.2742 to -0.0258) *"]
    # Differences 0.01, -0.01, 0.04: mean 0.01333, deviation 0.02517, half 0.0625.
    assert rows["t/h, v: accuracy"] == ["+0.0133 (-0.0492 to +0.0758)"]
    assert rows["tokens, millions"] == ["1.50", "1.50"]
    assert rows["seeds"] == ["3", "3"]
    assert "One seed" not in table


def test_what_the_input_shows_is_no_credit() -> None:
    shown = result("base", 1, 2.0, 0.5, 0.6)
    groups = {
        "1 part": {"loss": 0.0, "accuracy": 1.0, "classes": 1},
        "2 parts": {"loss": 0.7, "accuracy": 0.4, "classes": 2},
    }
    shown["heldout"]["v"]["heldout"]["t/h"] |= {"given": groups, "accuracy": None}
    assert set(metrics_of(shown)) == {
        "t/h, v: "
        "loss", "t/h, v, given 2 parts: loss", "t/h, v, given 2 parts: accuracy", "rte: accuracy"
    }  # fmt: skip


def test_every_cell_starts_from_the_encoder_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: dict[str, Any] = {}

    def keep(cell: Cell, *_: Any) -> dict[str, Any]:
        started[cell.label] = cell.settings["encoder"].get("init_from")
        return result(cell.name, cell.seed, 2.0, 0.5, 0.6)

    monkeypatch.setattr(compare, "run_cell", keep)
    words = [
        str(small_suite(tmp_path)),
        "--corpus",
        "corpus",
        "--output",
        str(tmp_path / "out"),
        "--seeds",
        "1",
        "2",
    ]
    assert compare.main(words) == 0
    assert set(started.values()) == {None}
    assert compare.main([*words, "--init-from", "some/export"]) == 0
    assert started == dict.fromkeys(
        ("plain-seed1", "plain-seed2", "both-seed1", "both-seed2"), "some/export"
    )


def test_only_seeds_that_both_have_are_paired_and_one_has_no_interval() -> None:
    found = collect([*RESULTS[:2], *RESULTS[4:]])["rte: accuracy"]
    assert found == {"base": {1: 0.60, 2: 0.62}, "new": {2: 0.66, 3: 0.65}}
    difference = paired_difference(found["new"], found["base"])
    assert difference == (pytest.approx(0.04), None)
    assert paired_difference({1: 0.5}, {2: 0.5}) is None
    assert "+0.0400 (n = 1)" in markdown("Title", [RESULTS[1], RESULTS[4]], "base")


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot(RESULTS, "base", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_cell_of_a_suite_is_a_run_of_equal_steps(
    path: Path, english: Corpus, tmp_path: Path
) -> None:
    suite, scale = load_suite(path), load_scale("tiny")
    for name in suite.cells:
        cell = make_cell(suite, name, 1, scale, 2000, tmp_path, english.folder)
        config = RunConfig.model_validate(cell.settings)
        planned = plan(config, workers=1, gpus=1, peak_tflops=None, mfu=None)
        assert planned["total"] == 2000
        assert planned["tokens"] == 2000 * 32 * 128
        assert cell.heldout
        # Each task that is judged is judged on the same examples in all cells.
        judged = {word.split(".")[1] for words in cell.heldout.values() for word in words}
        assert judged == {
            task
            for task in planned["totals"]
            if any(task in view for view in suite.heldout.values())
        }
        assert judged == set(planned["totals"])


@pytest.mark.parametrize("scale", ["tiny", "small", "base"])
def test_every_scale_is_a_configuration(scale: str, tmp_path: Path) -> None:
    suite, settings = load_suite(SUITES[0]), load_scale(scale)
    cell = make_cell(suite, suite.baseline, 1, settings, settings["steps"], tmp_path, tmp_path)
    assert RunConfig.model_validate(cell.settings).data.rows == settings["data"]["rows"]


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({"baseline": "none"}, [], "baseline 'none' is no cell; cells are plain, both"),
        ({"cell": {}}, [], "unknown key 'cell'; did you mean 'cells'"),
        ({}, ["--cells", "other"], "unknown cell 'other'; accepted: plain, both"),
        ({}, ["--scale", "huge"], "unknown scale 'huge'; accepted: tiny, small, base"),
        ({}, ["--recipes", "rte.yaml"], "--recipes needs --data"),
    ],
)
def test_mistakes_have_one_message(
    tmp_path: Path,
    changes: dict[str, Any],
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    suite = small_suite(tmp_path, **changes)
    assert (
        compare.main([str(suite), "--corpus", "c", "--output", str(tmp_path / "out"), *words]) == 2
    )
    (line,) = re.findall("^error: .*$", capsys.readouterr().err, re.MULTILINE)
    assert message in line


def test_what_a_suite_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In place of a verb, the process that it would be.
    script = tmp_path / "launch.py"
    script.write_text(
        "import os, time\n"
        "from ernie_cmtl.parent_process import stop_with_parent\n"
        "stop_with_parent()\n"
        f"open({str(tmp_path / 'started')!r}, 'w').write(str(os.getpid()) + '.')\n"
        "time.sleep(60)\n"
    )
    program = (
        "import compare, pathlib, sys\n"
        f"compare.ROOT = pathlib.Path({str(tmp_path)!r})\n"
        "compare.verb(None, 'pretrain')\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SCALES.parents[1]), str(ROOT)]))
    with subprocess.Popen([sys.executable, "-c", program]) as suite:
        started = tmp_path / "started"
        wait_until(lambda: started.exists() and started.read_text().endswith("."), [suite])
        suite.kill()
    child = psutil.Process(int(started.read_text().rstrip(".")))
    assert not psutil.wait_procs([child], timeout=10)[1]
