"""The verb prepare on the command line."""

import re
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from ernie_cmtl.corpus import layers
from ernie_cmtl.corpus.build.summary import small_vocabulary
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.tokens.tokenizer import TokenizerConfig
from tests.support.command_line import DOCUMENTS, Line, result_of
from tests.support.corpora import sample_texts, write_jsonl


def test_prepare_reports_what_it_read_and_built(line: Line) -> None:
    found = line.prepared
    texts = sample_texts("en", DOCUMENTS)
    tokenizer = AutoTokenizer.from_pretrained(line.corpus / "tokenizer")
    tokens = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
    counts = {name: found["documents"][name] for name in ("read", "used", "rejected", "duplicates")}
    assert counts == {"read": DOCUMENTS + 2, "used": DOCUMENTS, "rejected": 1, "duplicates": 1}
    assert found["tokens"] == tokens
    assert found["bytes"] == sum(len(text.strip().encode()) for text in texts)
    assert DOCUMENTS < found["sentences"] < tokens
    assert found["seconds"] > 0
    assert found["corpus"] == str(line.corpus)
    assert re.fullmatch("[0-9a-f]{64}", found["fingerprint"])
    assert found["fingerprint"] == Corpus(line.corpus).manifest.fingerprint
    assert found["vocabulary_size"] == len(tokenizer) <= 1200
    assert not found["warnings"]


def test_prepare_adds_to_a_corpus_and_the_next_run_sees_it(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(line.corpus, tmp_path / "corpus")
    names = tmp_path / "names.txt"
    names.write_text("the assignment statement\nname\n")
    more = write_jsonl(tmp_path / "more.jsonl", sample_texts("en", 20)[DOCUMENTS:])
    words = (
        "prepare",
        "--corpus",
        tmp_path / "corpus",
        "--input",
        f"more={more}",
        "mixture.text=0.5",
        "mixture.more=0.5",
    )
    more_layers = ("gazetteer", "quoted")
    (tmp_path / "quoted.py").write_text(
        "from ernie_cmtl.corpus.layers import SpanProvider\n\n\n"
        "class Quoted(SpanProvider):\n    citation = 'test'\n\n    def spans(self, text):\n        "
        "return []\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(layers._LAYERS, "_modules", {})
    own = ("--layer-module", "quoted", f"layers.gazetteer.files=[{names}]")
    added = result_of(*words, "--layers", *more_layers, *own)
    assert added["documents"]["read"] == line.prepared["documents"]["read"] + 6
    assert added["layers"] == [*line.prepared["layers"], *more_layers]
    assert {name: source["mixture"] for name, source in added["sources"].items()} == {
        "more": 0.5,
        "text": 0.5,
    }
    sample = result_of(
        "inspect", "knowledge_masking", "--corpus", tmp_path / "corpus", "--samples", "30"
    )
    assert {"name"} <= {span for row in sample for span in row["spans"]["gazetteer"]}
    evaluated = result_of("evaluate", line.run, "--corpus", tmp_path / "corpus")
    assert set(evaluated["sources"]) == {"more", "text"}
    assert evaluated["sources"]["more"]["knowledge_masking/masked_token"]["loss"] > 0
    short = result_of("evaluate", line.run, "--corpus", tmp_path / "corpus", "--no-sources")
    assert short == evaluated | {"sources": {}}
    assert evaluated["corpus"] == str(tmp_path / "corpus")


def test_a_layer_of_ones_own_is_one_file(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quoted_words.py").write_text(
        "import re\n"
        "from ernie_cmtl.corpus.layers import SpanProvider\n\n\n"
        "class QuotedWords(SpanProvider):\n"
        "    citation = 'test'\n\n"
        "    def spans(self, text):\n"
        "        return [match.span(1) for match in re.finditer('\\\"([a-z ]+)\\\"', text)]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("ernie_cmtl.corpus.layers._LAYERS._modules", {})
    shutil.copytree(line.corpus, tmp_path / "corpus")
    words = (
        "prepare",
        "--corpus",
        tmp_path / "corpus",
        "--layers",
        "quoted_words",
        "--processes",
        "2",
    )
    assert result_of(*words, "--layer-module", "quoted_words")["layers"][-1] == "quoted_words"
    split = Corpus(tmp_path / "corpus").split("train")
    assert sum(int((array["quoted_words"] == 1).sum()) for array in split.arrays) > 20


def test_a_vocabulary_that_is_smaller_than_asked_for_is_said_once_with_the_reason(
    tmp_path: Path,
) -> None:
    texts = sample_texts("en", 20)
    first, more = write_jsonl(tmp_path / "a.jsonl", texts[:8]), tmp_path / "b.jsonl"
    write_jsonl(more, texts[8:])
    new = ("--output", tmp_path / "corpus", "--language", "en", "--processes", "1")
    found = result_of("prepare", "--input", first, *new)
    size = f"{found['vocabulary_size']:,}"
    (warning,) = found["warnings"]
    assert warning.startswith(f"the vocabulary has {size} entries, not 30,522")
    assert "at least 2 times (tokenizer.minimum_frequency)" in warning
    added = result_of("prepare", "--corpus", tmp_path / "corpus", "--input", f"more={more}")
    assert not added["warnings"]
    assert not small_vocabulary(1200, TokenizerConfig(name_or_path="given"))
