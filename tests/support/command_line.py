"""Verbs called as a user calls them, in this process."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from ernie_cmtl.cli.app import app

ROOT = Path(__file__).parents[2]
TASKS = sorted(
    path.stem for path in (ROOT / "pretrain_tasks").glob("*.py") if not path.stem.startswith("_")
)


DOCUMENTS = 14


@dataclass
class Line:
    """A whole line, from raw text to an exported model, each verb called once."""

    folder: Path
    prepared: dict[str, Any]
    pretrained: dict[str, Any]
    evaluated: dict[str, Any]
    exported: dict[str, Any]

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus"

    @property
    def config(self) -> Path:
        return self.folder / "run.yaml"

    @property
    def run(self) -> Path:
        return self.folder / "run"


RUN = {
    "stages": [
        {"name": "words", "budgets": {"knowledge_masking": 3}},
        {"name": "order", "budgets": {"knowledge_masking": 1, "sentence_reordering": 2}},
    ],
    "data": {"row_length": 64, "rows": 4, "rows_per_group": 2},
    "encoder": {"layers": 1, "hidden_size": 32, "attention_heads": 2, "maximum_positions": 64},
    "training": {"precision": "fp32", "log_every": 2, "heldout": {"samples": 8}, "trackers": []},
}


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def result_of(*words: str | Path) -> Any:
    """Return the one JSON value that a verb prints on standard output."""
    done = call(*words, "--json")
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    return json.loads(done.stdout)


def squeezed(text: str) -> str:
    """Drop spaces and the frames of help, so that it does not matter where a line was broken."""
    return re.sub(r"[\s│╭╮╰╯─]", "", text)


def mistake(*words: str | Path) -> str:
    """Return the message that a wrong call gives, after checking that it is one and no
    traceback.
    """
    done = call(*words)
    assert done.exit_code == 2, (done.exit_code, done.exception, done.stderr)
    assert isinstance(done.exception, SystemExit)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    return squeezed(done.stderr.partition("error:")[2])
