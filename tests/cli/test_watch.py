"""The view of a run: step, time left, scores, warnings; shown once in a pipe."""

import json
import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from ernie_cmtl.cli.watch import curve, run_view
from ernie_cmtl.verbs.watch import watch
from tests.support.command_line import Line, call


def train_line(step: int, loss: float) -> dict[str, Any]:
    score = {"loss": loss, "accuracy": 0.25, "labels": 10}
    return {
        **{"kind": "train", "step": step, "time": 1000.0 + 3 * step, "stage": "first"},
        **{"loss": loss, "tasks": {"knowledge_masking/masked_token": score}},
        **{"learning_rate": 1e-3, "gradient_norm": 1.0, "real_tokens_per_second": 1234.0},
        **{"packing_efficiency": 0.9, "data_wait_share": 0.1, "consumed": {}},
    }


def test_a_pipe_gets_the_view_once(line: Line) -> None:
    done = call("watch", line.run)
    assert done.exit_code == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "100%" in shown
    for head in line.evaluated["heldout"]:
        assert head in shown
    result = json.loads(call("watch", line.run, "--json").stdout)
    assert result["step"] == result["steps"]
    assert result["heads"].keys() == line.evaluated["heldout"].keys()


def test_time_left_is_taken_from_the_newest_lines(line: Line, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(line.run, run)
    shutil.rmtree(run / "checkpoints")
    lines = [train_line(1, 6.0), train_line(2, 5.0), train_line(3, 4.0)]
    # The last line is being written.
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "tra'
    (run / "metrics.jsonl").write_text(text)
    result = watch(run)
    assert result["step"] == 3
    assert result["seconds_left"] == 3.0 * (result["steps"] - 3)
    assert result["heads"]["knowledge_masking/masked_token"]["losses"] == [6.0, 5.0, 4.0]
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(run_view(result))
    shown = console.export_text()
    assert "step 3 of" in shown
    assert "1,234 tokens/s" in shown
    assert "█▄▁" in shown
    assert "the same command resumes it" in " ".join(shown.split())


def test_a_curve_goes_from_the_lowest_to_the_highest_value() -> None:
    assert curve([1.0, 2.0, 3.0]) == "▁▄█"
    assert curve([2.0, 2.0]) == "▁▁"
    assert curve([]) == ""


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    done = call("watch", tmp_path)
    assert done.exit_code == 2
    assert "no run folder" in done.stderr
