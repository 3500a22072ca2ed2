"""What people see of a run while it trains."""

import io
import re
from pathlib import Path

import pytest
import yaml

from ernie_cmtl.cli.progress import progress_bar, times
from ernie_cmtl.cli.terminal import Terminal
from ernie_cmtl.cli.training_view import RunView
from ernie_cmtl.config import RunConfig
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.command_line import RUN, Line, call, result_of
from tests.support.runs import with_training

HEADS = ("knowledge_masking/masked_token", "sentence_reordering/order")


@pytest.fixture(scope="module")
def lines(line: Line, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a run says in a pipe."""
    settings = yaml.safe_load(line.config.read_text())
    settings["training"]["log_every"] = 1
    path = tmp_path_factory.mktemp("view") / "run.yaml"
    path.write_text(yaml.safe_dump(settings | {"run": str(path.parent / "run")}))
    done = call("pretrain", path)
    assert done.exit_code == 0
    return done.stderr.splitlines()


def test_each_line_has_step_total_time_time_left_and_rate(lines: list[str]) -> None:
    steps = [text for text in lines if text.startswith("step ")]
    assert len(steps) == 6
    for number, text in enumerate(steps, 1):
        assert re.match(
            rf"step {number} of 6  0:00:\d\d, 0:0\d:\d\d left  [\d,]+ tokens/s  total \d", text
        )
    assert "0:00:00 left" in steps[-1]


def test_each_line_shows_every_head_and_each_stage_says_what_its_total_is(lines: list[str]) -> None:
    steps = [text for text in lines if text.startswith("step ")]
    assert all(re.search(rf"{HEADS[0]} \d+\.\d+", text) for text in steps)
    assert any(re.search(rf"{HEADS[1]} \d+\.\d+", text) for text in steps[3:])
    stages = [text for text in lines if text.startswith("stage ")]
    assert [text.split()[1] for text in stages] == ["words:", "order:"]
    assert all("compare it within the stage" in text and HEADS[0] in text for text in stages)


def test_the_bar_moves_with_each_step_and_says_what_it_counts() -> None:
    terminal = Terminal(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    with progress_bar(terminal) as progress:
        view = RunView(terminal, progress)
        view.started(440, 20, 1, "fp32")
        for step in (21, 22):
            view.stepped(step)
            assert progress.tasks[0].completed == step
        progress.refresh()
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"22 of 440 +0:00:0\d, \S+ left", shown)


def test_a_run_tells_of_every_step_between_two_lines_of_its_log(tiny_config: RunConfig) -> None:
    steps: list[int] = []

    class Counting(Observer):
        def stepped(self, step: int) -> None:
            steps.append(step)

    result = pretrain(with_training(tiny_config, log_every=100), Counting())
    assert steps == list(range(1, result["steps"] + 1))


def test_times_have_names() -> None:
    assert times(65, 3600) == "0:01:05, 1:00:00 left"
    assert times(None, None) == "0:00:00, - left"


def test_a_run_that_is_out_of_time_says_so_and_shows_no_empty_table(
    line: Line, tmp_path: Path
) -> None:
    settings = RUN | {"run": str(tmp_path / "run"), "corpus": str(line.corpus)}
    settings["stages"] = RUN["stages"][:1]  # type: ignore[index]
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    done = call("pretrain", path, "training.max_hours=1e-9")
    assert done.exit_code == 0
    assert "stopped at step 1 of 3: training.max_hours, 1e-09, are over" in done.stderr
    assert "task / head" not in done.stdout
    assert done.stdout.splitlines() == [
        f"{tmp_path / 'run'}: 1 steps; no held-out scores were measured since it was started"
    ]
    assert result_of("pretrain", path, "training.max_hours=1e-9")["stopped"]
    assert result_of("pretrain", path)["stopped"] is None
