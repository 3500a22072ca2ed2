"""A tiny Ernie with a tokenizer of whole words, and files of rows."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import ErnieConfig, ErnieForMaskedLM, PreTrainedTokenizerFast

from tests.support.finetuning import MARKS, WORDS, WriteRows, word_tokenizer

TASK_ROWS = 4


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of an encoder with four different task rows, of which pretraining filled 0 and 2;
    read-only.
    """
    folder = tmp_path_factory.mktemp("models") / "ernie"
    config = ErnieConfig(
        **{
            "vocab_size": len(MARKS + WORDS),
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
        **{
            "intermediate_size": 64,
            "max_position_embeddings": 64,
            "type_vocab_size": 4,
            "pad_token_id": 0,
        },
        **{"use_task_id": True, "task_type_vocab_size": TASK_ROWS, "hidden_dropout_prob": 0.0},
    )
    torch.manual_seed(5)
    encoder = ErnieForMaskedLM(config)
    torch.nn.init.normal_(encoder.ernie.embeddings.task_type_embeddings.weight, std=0.05)
    encoder.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    (folder / "pretraining.json").write_text(json.dumps({"tasks": {"first": 0, "second": 2}}))
    return str(folder)


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
