"""Tables cut no name and no number, on terminals of any width and in pipes."""

import io
import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from rich.console import Group, RenderableType
from typer.testing import CliRunner

from ernie_cmtl.cli.app import app
from ernie_cmtl.cli.evaluate import judged_tables
from ernie_cmtl.cli.finetune import result_table
from ernie_cmtl.cli.prepare import corpus_table
from ernie_cmtl.cli.tables import Table
from ernie_cmtl.cli.terminal import Terminal
from ernie_cmtl.cli.training_view import report_tables
from tests.support.command_line import RUN, Line, result_of

WIDTHS = (60, 80, 120, None)
"""Of terminals; None: a pipe, for which rich takes 80 columns."""


def printed(*words: object, width: int | None) -> list[str]:
    """Return the lines that a verb prints as its result."""
    env = {"COLUMNS": "80"} if width is None else {"COLUMNS": str(width), "FORCE_COLOR": "1"}
    done = CliRunner(env=env).invoke(app, [str(word) for word in words])
    assert not done.exception, done.stderr
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert "…" not in text
    return text.splitlines()


def rendered(shown: RenderableType, width: int | None) -> list[str]:
    terminal = Terminal(
        file=io.StringIO(), width=width or 80, force_terminal=width is not None, color_system=None
    )
    terminal.show(shown)
    return terminal.file.getvalue().splitlines()  # type: ignore[attr-defined]


def check_whole(lines: list[str], values: Sequence[str]) -> None:
    """Check that `grep` finds each value."""
    cut = [value for value in values if not any(value in line for line in lines)]
    assert not cut, "\n".join(lines)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width", [20, *WIDTHS])
def test_every_word_of_a_table_stands_whole_on_a_line(width: int | None, seed: int) -> None:
    draw = random.Random(seed)
    words = ["12,345,678", "0.1234", "token_document_relation/elsewhere", "of", "35.0%", "中文字"]
    columns = [f"column {number}" for number in range(draw.randint(2, 9))]
    table = Table(*columns, title="a title of several words " * 4, caption="caption")
    for number in range(5):
        cells = [" ".join(draw.choices(words, k=draw.randint(0, 5))) for _ in columns[1:]]
        table.add_row(f"row_{number}", *cells)
        check_whole(rendered(table, width), " ".join([*cells, f"row_{number}"]).split())


def test_in_a_pipe_a_row_is_one_line() -> None:
    table = Table("name", "value")
    table.add_row("first", "word " * 60)
    table.add_row("second", "2")
    lines = rendered(table, None)
    assert [line.split()[0] for line in lines] == ["name", "first", "second"]


@pytest.mark.parametrize("width", WIDTHS)
def test_tasks_shows_every_name(width: int | None) -> None:
    lines = printed("tasks", width=width)
    rows = result_of("tasks")
    names = [head["name"] for row in rows for head in row["heads"]]
    layers = [layer for row in rows for layer in row["layers"]]
    check_whole(lines, [*(row["name"] for row in rows), *names, *layers])
    if width is None:
        assert len(lines) == 1 + len(rows)


@pytest.mark.parametrize("width", WIDTHS)
def test_plan_shows_every_budget(width: int | None, tmp_path: Path) -> None:
    tasks = ("knowledge_masking", "capitalization", "token_document_relation", "sentence_distance")
    stages = [
        {"name": f"s{number}", "budgets": dict.fromkeys(tasks[: number + 1], 1_234_567 + number)}
        for number in range(4)
    ] + [{"name": f"t{number}", "budgets": {tasks[0]: 7_654_321}} for number in range(3)]
    settings = RUN | {"run": "a/run", "corpus": "absent", "stages": stages}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    lines = printed("plan", tmp_path / "run.yaml", width=width)
    check_whole(lines, [*tasks, "1,234,567", "1,234,570", "7,654,321", "4,938,280", "a/run"])


@pytest.mark.parametrize("width", WIDTHS)
def test_prepare_shows_names_counts_and_fingerprint(line: Line, width: int | None) -> None:
    found = line.prepared
    counts = [f"{found[name]:,}" for name in ("tokens", "bytes", "sentences")]
    lines = rendered(corpus_table(found), width)
    check_whole(lines, [found["corpus"], found["fingerprint"], *found["layers"], *counts])


@pytest.mark.parametrize("width", WIDTHS)
def test_scores_are_shown_whole(line: Line, width: int | None) -> None:
    shown = (Group(*judged_tables(line.evaluated)), Group(*report_tables(line.pretrained)))
    for lines in (rendered(one, width) for one in shown):
        check_whole(lines, [str(line.run), "forgetting"])
        for name, score in line.evaluated["heldout"].items():
            numbers = [f"{score['accuracy']:.2%}", f"{score['majority']:.1%}"]
            check_whole(lines, [name, f"{score['loss']:.4f}", *numbers])


@pytest.mark.parametrize("width", [60, None])
def test_other_verbs_cut_nothing(line: Line, width: int | None) -> None:
    words = ("sentence_reordering", "--corpus", line.corpus)
    sample = result_of("inspect", *words, "--samples", "1")[0]
    lines = printed("inspect", *words, "--samples", "1", width=width)
    check_whole(lines, [token for token in sample["input"] if len(token) > 6])
    lines = printed("bench", line.config, "--steps", "1", "--warmup", "0", width=width)
    check_whole(lines, ["packing_efficiency", "real_tokens_per_second", "peak_memory_bytes"])


@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_of_many_learning_rates_is_whole(width: int | None) -> None:
    rates = [1e-5, 2e-5, 3e-5, 5e-5, 1e-4]
    runs = [
        {"learning_rate": rate, "dev": {"accuracy": 0.5 + rate, "f1": 0.25}, "one_class": []}
        for rate in rates
        for _ in range(2)
    ]
    result = {
        "runs": runs,
        "learning_rate": 1e-4,
        "split": "dev",
        "metric": "accuracy",
        "init": "model",
        "task_row": None,
        "majority": {"dev": {"accuracy": 0.5123, "f1": 0.4}},
    }
    lines = rendered(result_table("a/long/path/of/a/model, a_long_recipe", result), width)
    check_whole(lines, ["accuracy", "0.5123", "0.5001", *(f"{rate:g}" for rate in rates)])
