"""Small corpora from the embedded sample text."""

import json
from pathlib import Path
from typing import Any

from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.progress import Reporter
from ernie_cmtl.corpus.build.request import new_corpus
from ernie_cmtl.corpus.sample import sample_documents

SMALL_CORPUS: dict[str, Any] = {"tokenizer": {"vocabulary_size": 2000}}


MARKERS: dict[str, Any] = {"en": {"comma": False}, "zh": {}}


NAMES = {"en": "capitalized_names", "zh": "tagged_names"}


def quiet(*_: object) -> None:
    """Report nothing."""


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text(
        "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts),
        encoding="utf-8",
    )
    return path


def small_config(language: str, **settings: Any) -> PrepareConfig:
    """Settings of a corpus that is small and still has names, collocations, counts, markers and
    neighbours.
    """
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
    words: list[str],
    output: Path,
    language: Any = "en",
    processes: int = 1,
    report: Reporter = quiet,
    **settings: Any,
) -> dict[str, Any]:
    """Build a corpus of inputs and return what prepare reports; settings as in `small_config`, and
    `restart`.
    """
    restart = settings.pop("restart", False)
    request = new_corpus(words, output, language, small_config(language, **settings))
    return build(request, processes, report, restart)


def build_corpus(
    folder: Path, texts: list[str], language: str = "en", processes: int = 1, **settings: Any
) -> dict[str, Any]:
    """Build a corpus of texts in folder/corpus and return what prepare reports."""
    folder.mkdir(parents=True, exist_ok=True)
    source = write_jsonl(folder / "text.jsonl", texts)
    return make_corpus([str(source)], folder / "corpus", language, processes, **settings)


def sample_texts(language: str, count: int = 40) -> list[str]:
    return [text for _, text in sample_documents(language)][:count]
