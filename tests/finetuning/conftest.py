"""A tiny Ernie with a tokenizer of whole words, and files of rows."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tests.support.finetuning import WriteRows, save_ernie, word_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of an encoder with four different task rows, of which pretraining filled 0 and 2;
    read-only.
    """
    return save_ernie(tmp_path_factory.mktemp("models") / "ernie")


@pytest.fixture
def write(tmp_path: Path) -> WriteRows:
    """Write a file of lines, a `.jsonl` of values; both into one folder."""

    def write_rows(name: str, rows: list[Any]) -> Path:
        lines = [
            json.dumps(row, ensure_ascii=False) if name.endswith(".jsonl") else row for row in rows
        ]
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return tmp_path

    return write_rows
