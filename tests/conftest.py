"""Shared fixtures: two tiny corpora from the embedded sample text, made once a test process, and a tiny run on them."""

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
from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.progress import Reporter
from ernie_cmtl.corpus.build.request import PrepareConfig, new_corpus
from ernie_cmtl.corpus.sample import sample_documents
from ernie_cmtl.corpus.store.corpus import Corpus
from tests.labelled_rows import COLUMNS, rows_of

torch.set_num_threads(1)

SMALL_CORPUS: dict[str, Any] = {"tokenizer": {"vocabulary_size": 2000}}
MARKERS: dict[str, Any] = {"en": {"comma": False}, "zh": {}}
NAMES = {"en": "capitalized_names", "zh": "tagged_names"}


def pytest_collection_finish() -> None:
    """Leave what the imports have made out of the garbage collection at the end of each run."""
    gc.collect()
    gc.freeze()
    # A process has one server to fork from, and what asks for it first decides what it has imported.
    if "tests.run.forked" in sys.modules:
        forkserver.ensure_running()


def quiet(*_: object) -> None:
    """Report nothing."""


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    return path


def small_config(language: str, **settings: Any) -> PrepareConfig:
    """Settings of a corpus that is small and still has names, collocations, counts, markers and neighbours."""
    layers = {
        NAMES[language]: {},
        "collocations": {"minimum_count": 4},
        "document_counts": {},
        "inverse_document_frequency": {},
        "discourse_markers": MARKERS[language],
        "retrieved": {},
    }
    return PrepareConfig.model_validate(SMALL_CORPUS | {"layers": layers} | settings)


def make_corpus(
    words: list[str], output: Path, language: Any = "en", processes: int = 1, report: Reporter = quiet, **settings: Any
) -> dict[str, Any]:
    """Build a corpus of inputs and return what prepare reports; settings as in `small_config`, and `restart`."""
    restart = settings.pop("restart", False)
    request = new_corpus(words, output, language, small_config(language, **settings))
    return build(request, processes, report, restart)


def build_corpus(folder: Path, texts: list[str], language: str = "en", processes: int = 1, **settings: Any) -> dict[str, Any]:
    """Build a corpus of texts in folder/corpus and return what prepare reports."""
    folder.mkdir(parents=True, exist_ok=True)
    source = write_jsonl(folder / "text.jsonl", texts)
    return make_corpus([str(source)], folder / "corpus", language, processes, **settings)


def sample_texts(language: str, count: int = 40) -> list[str]:
    return [text for _, text in sample_documents(language)][:count]


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


def tiny_settings(corpus: Corpus, run: Path) -> dict[str, Any]:
    """Settings of a run of a 2x32 encoder: two stages, three tasks, 12 steps of 8 rows of 64 tokens."""
    return {
        "run": str(run),
        "corpus": str(corpus.folder),
        "stages": [
            {"name": "first", "budgets": {"knowledge_masking": 5}},
            {"name": "second", "budgets": {"knowledge_masking": 3, "capitalization": 2, "sentence_reordering": 2}},
        ],
        "data": {"row_length": 64, "rows": 8, "rows_per_group": 2},
        "encoder": {"layers": 2, "hidden_size": 32, "attention_heads": 2, "maximum_positions": 64},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2},
        "training": {"precision": "fp32", "log_every": 1, "heldout_samples": 8, "checkpoint_every": 4, "trackers": []},
    }


@pytest.fixture
def tiny_config(english: Corpus, tmp_path: Path) -> RunConfig:
    return RunConfig.model_validate(tiny_settings(english, tmp_path / "run"))
