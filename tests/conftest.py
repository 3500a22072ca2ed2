"""Shared fixtures: two tiny corpora from the embedded sample text, made once a test process, and a
tiny run on them.
"""

import gc
import json
import os
import sys
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from tests.support.corpora import build_corpus, make_corpus, sample_texts
from tests.support.labelled_rows import (
    COLUMNS,
    NAMES,
    opinions,
    rows_of,
    write_class_folders,
    write_conll,
)
from tests.support.runs import tiny_settings

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Leave what the imports have made out of the garbage collection at the end of each run."""
    gc.collect()
    gc.freeze()
    # A process has one server to fork from, and what asks for it first decides what it has
    # imported.
    if "tests.support.workers" in sys.modules:
        forkserver.ensure_running()


@pytest.fixture(scope="session")
def english(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """About 60,000 tokens of English documentation; read-only."""
    folder = tmp_path_factory.mktemp("english")
    build_corpus(folder, sample_texts("en"))
    return Corpus(folder / "corpus")


@pytest.fixture(scope="session")
def chinese(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """About 17,000 tokens of Chinese prose; read-only."""
    folder = tmp_path_factory.mktemp("chinese")
    build_corpus(folder, sample_texts("zh"), "zh")
    return Corpus(folder / "corpus")


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Labelled rows of four kinds beside a little English text; read-only."""
    folder = tmp_path_factory.mktemp("judged")
    labelled = {}
    for name, columns in COLUMNS.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(name)), encoding="utf-8")
        labelled[name] = {"file": str(path), "columns": columns}
    build_corpus(folder, sample_texts("en", 12), labelled=labelled)
    return Corpus(folder / "corpus")


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Labelled rows alone: two tables of classes out of folders, one out of CSV, and tagged words;
    read-only.
    """
    folder = tmp_path_factory.mktemp("tables")
    topics = {place: [f"{name} lives in {place}, says {name}." for name in NAMES] for place in "ab"}
    questions = [f'"Who is {name}, the {n}?",{n % 2}\n' for name in NAMES for n in range(6)]
    (folder / "questions.csv").write_text("question,label\n" + "".join(questions))
    files = {
        "sentiment": write_class_folders(folder / "opinions", opinions()),
        "topics": write_class_folders(folder / "topics", topics),
        "questions": folder / "questions.csv",
        "chunks": write_conll(folder / "chunks.conll"),
    }
    labelled: dict[str, dict[str, Any]] = {
        name: {"file": str(file)} for name, file in files.items()
    }
    labelled["questions"]["columns"] = {"question": "text", "label": "class"}
    make_corpus([], folder / "corpus", layers={"document_counts": {}}, labelled=labelled)
    return Corpus(folder / "corpus")


@pytest.fixture
def tiny_config(english: Corpus, tmp_path: Path) -> RunConfig:
    return RunConfig.model_validate(tiny_settings(english, tmp_path / "run"))
