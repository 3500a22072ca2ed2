"""A corpus of labelled rows without running text: built, trained on, and refused where a task needs
text.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.progress import Progress
from ernie_cmtl.corpus.build.request import new_corpus
from ernie_cmtl.corpus.store.corpus import Corpus
from tests.support.command_line import RUN, mistake, result_of
from tests.support.corpora import sample_texts, write_jsonl
from tests.support.labelled_rows import rows_of

ROWS = 64


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a corpus of two tables; read-only."""
    folder = tmp_path_factory.mktemp("alone")
    words = [
        f"--labelled={name}={write_rows(folder / name, [])}.jsonl" for name in ("cola", "stsb")
    ]
    for name in ("cola", "stsb"):
        write_rows(folder / f"{name}.jsonl", rows_of(name))
    kinds = ["labelled.stsb.columns={sentence1: text, sentence2: text, score: number}"]
    kinds += ["labelled.cola.columns={sentence: text, label: class}"]
    output = folder / "corpus"
    prepare = ["prepare", "--output", output, "--language", "en", "--processes", "1"]
    result = result_of(*prepare, *words, *kinds)
    assert result["documents"]["read"] == result["tokens"] == 0
    assert {name: table["rows"]["used"] for name, table in result["labelled"].items()} == {
        "cola": ROWS,
        "stsb": ROWS,
    }
    return output


def settings_of(folder: Path, corpus: Path, *tasks: str) -> Path:
    """Write the settings of a run of two steps a task."""
    tables = {"cola": {"type": "supervised", "table": "cola"}}
    tables["stsb"] = {"type": "supervised", "table": "stsb", "label": "score"}
    run = RUN | {
        "corpus": str(corpus),
        "run": str(folder / "run"),
        "stages": [{"name": "only", "budgets": dict.fromkeys(tasks, 2)}],
        "tasks": {name: tables[name] for name in tasks if name in tables},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run), encoding="utf-8")
    return path


def test_each_verb_works_without_running_text(alone: Path, tmp_path: Path) -> None:
    config = settings_of(tmp_path, alone, "cola", "stsb")
    assert result_of("plan", config)["totals"] == {"cola": 2, "stsb": 2}
    done = result_of("pretrain", config)
    assert done["steps"] == 4
    scores = result_of("evaluate", tmp_path / "run")
    assert scores["heldout"].keys() == {"cola/label", "stsb/label"}
    assert not scores["sources"]
    shown = result_of("inspect", "supervised", "table=cola", "--corpus", alone, "--samples", "1")
    assert len(shown) == 1


def test_a_task_that_reads_running_text_is_refused_by_every_verb(
    alone: Path, tmp_path: Path
) -> None:
    config = settings_of(tmp_path, alone, "cola", "knowledge_masking")
    calls = [
        ("plan", config),
        ("pretrain", config),
        ("inspect", "knowledge_masking", "--corpus", str(alone)),
        ("inspect", "supervised", "--corpus", str(alone)),
    ]
    for words in calls:
        message = mistake(*words)
        assert "namesnotable,soitreadsrunningtext" in message
        assert "holdslabelledrowsalone(cola,stsb)" in message
    assert not (tmp_path / "run").exists()


def test_layers_are_those_that_need_no_running_text(alone: Path, tmp_path: Path) -> None:
    layers = {"capitalized_names", "document_counts", "discourse_markers"}
    manifest = Corpus(alone).manifest
    assert {*manifest.layers} == {*layers, "word_starts", "letter_case"}
    assert {*manifest.layer_options} == layers
    rows = f"--labelled=cola={alone.parent}/cola.jsonl"
    base = ["prepare", "--language", "en", rows, "--output", tmp_path / "corpus"]
    assert "layercollocations,retrievedneedsrunningtext" in mistake(
        *base, "--layers", "collocations,retrieved"
    )
    assert "keepthelayers" in mistake("prepare", "--corpus", alone, "--layers", "collocations")
    assert "orlabelledrowswith--labelled" in mistake(*base[:3], *base[4:])
    assert not (tmp_path / "corpus").exists()


def test_the_vocabulary_is_that_of_the_rows_that_are_not_held_out(tmp_path: Path) -> None:
    rows = [
        {"text": f"word{'abcdefghij'[number % 10] * 3}{number} " * 3, "label": number % 2}
        for number in range(60)
    ]
    config = {
        "labelled": {"own": {"file": str(write_rows(tmp_path / "own.jsonl", rows))}},
        "tokenizer": {"minimum_frequency": 3},
    }
    request = new_corpus([], tmp_path / "corpus", "en", PrepareConfig.model_validate(config))
    result = build(request, 1, lambda _: None)
    assert result["labelled"]["own"]["rows"]["heldout"] == 15
    corpus = Corpus(tmp_path / "corpus")
    whole = sum(row["text"].split()[0] in corpus.tokenizer.get_vocab() for row in rows)
    assert whole == 45


def test_a_build_that_was_broken_off_goes_on(alone: Path, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(news: Progress) -> None:
        if news.stage == "labelled":
            raise StopError

    settings = Corpus(alone).manifest.settings
    request = new_corpus([], tmp_path / "corpus", "en", PrepareConfig.model_validate(settings))
    with pytest.raises(StopError):
        build(request, 1, stop)
    tokenizer = tmp_path / "corpus" / "tokenizer" / "tokenizer.json"
    begun = tokenizer.stat().st_mtime_ns
    result = build(request, 1, lambda _: None)
    assert result["fingerprint"] == Corpus(alone).manifest.fingerprint
    assert tokenizer.stat().st_mtime_ns == begun


def test_text_can_be_added_later_and_a_tokenizer_given(alone: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    rows = f"--labelled=cola={alone.parent}/cola.jsonl"
    one = ["--processes", "1"]
    given = ["--tokenizer", alone / "tokenizer", "labelled.cola.columns.sentence=text"]
    words = ["prepare", "--output", corpus, "--language", "en", rows, *given, *one]
    built = result_of(*words)
    assert built["vocabulary_size"] == Corpus(alone).manifest.vocabulary_size
    text = write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 12))
    added = result_of("prepare", "--corpus", corpus, "--input", text, *one)
    assert added["documents"]["used"] == 12
    assert added["labelled"] == built["labelled"]
    shown = result_of("inspect", "knowledge_masking", "--corpus", corpus, "--samples", "1")
    assert len(shown) == 1


def test_a_corpus_with_other_classes_is_named_as_such(alone: Path, tmp_path: Path) -> None:
    rows = [
        {"sentence": f"The road {number} is long.", "label": number % 3} for number in range(60)
    ]
    table = write_rows(tmp_path / "cola.jsonl", rows)
    result_of(
        *("prepare", "--output", tmp_path / "other", "--language", "en", "--processes", "1"),
        *("--tokenizer", alone / "tokenizer", f"--labelled=cola={table}"),
        "labelled.cola.columns={sentence: text, label: class}",
    )
    result_of("pretrain", settings_of(tmp_path, alone, "cola"))
    message = mistake("evaluate", tmp_path / "run", "--corpus", tmp_path / "other")
    assert "doesnothavetheclassesthatrun" in message
    assert "preparewithrowsofeveryclass" in message.replace("prepareit", "prepare")
