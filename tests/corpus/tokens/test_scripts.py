"""What text is written in: letters by script and unknown tokens, by source, and a warning where
they do not fit the corpus.
"""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from transformers import BertTokenizer

from ernie_cmtl.cli.prepare import corpus_table
from ernie_cmtl.corpus.build import pipeline
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.request import added_to
from ernie_cmtl.corpus.build.summary import summary
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.tokens.scripts import letters_by_script
from tests.support.corpora import make_corpus, quiet, sample_texts, write_jsonl

RUSSIAN = "Это простой текст, и никто его здесь не знает. "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ab\u00e9\u00f1\ufb01\uff21 12.5 _-\n\u200b\u0301", {"Latin": 6}),
        (
            "\u0416\u0437 \u03a9\u03b1\u03b2 \u05d0 \u0627\u0628",
            {"Greek": 3, "Cyrillic": 2, "Arabic": 2, "Hebrew": 1},
        ),
        # Ideographs of three blocks, one of them beyond the first plane.
        (
            "\u4e2d\u6587\u3400\U00020000，\u3002\u3042\u30ab\u30ab\ud55c",
            {"Han": 4, "Katakana": 2, "Hiragana": 1, "Hangul": 1},
        ),
        # A letter of Devanagari with its vowel sign, which is a mark; a Cherokee letter; an emoji.
        ("\u0915\u093f \u13a0 \U0001f600", {"Devanagari": 1, "other": 1}),
        ("1, 2, 3!", {}),
        ("", {}),
    ],
)
def test_letters_are_counted_by_script(text: str, expected: dict[str, int]) -> None:
    assert letters_by_script([text]) == expected
    # Longer than what is counted at once, and cut within a repetition.
    assert letters_by_script([text, text * 10_000, text]) == {
        script: count * 10_002 for script, count in expected.items()
    }


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two sources: English, and Russian beside a little English."""
    folder = tmp_path_factory.mktemp("words")
    texts = sample_texts("en", 14)
    write_jsonl(folder / "english.jsonl", texts[:12])
    write_jsonl(
        folder / "russian.jsonl", [f"{RUSSIAN * (3 + n)}{n}" for n in range(40)] + texts[12:]
    )
    return [f"english={folder / 'english.jsonl'}", f"russian={folder / 'russian.jsonl'}"]


def build(
    words: list[str], output: Path, tokenizer: Corpus, processes: int = 1, shard_bytes: int = 5000
) -> dict[str, Any]:
    given = {"name_or_path": str(tokenizer.folder / "tokenizer")}
    return make_corpus(
        words, output, processes=processes, tokenizer=given, layers={}, shard_bytes=shard_bytes
    )


@pytest.fixture(scope="module")
def built(
    words: list[str], english: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Corpus, dict[str, Any]]:
    """A corpus of several shards with a vocabulary of English, and what prepare said."""
    folder = tmp_path_factory.mktemp("built") / "corpus"
    result = build(words, folder, english)
    assert len(Corpus(folder).manifest.shards) > 4
    return Corpus(folder), result


def texts_of(words: list[str], source: str) -> list[str]:
    path = next(word.partition("=")[2] for word in words if word.startswith(source))
    return [
        json.loads(line)["text"] for line in Path(path).read_text(encoding="utf-8").splitlines()
    ]


def test_each_source_reports_unknown_tokens_and_scripts(
    words: list[str], built: tuple[Corpus, dict[str, Any]]
) -> None:
    corpus, result = built
    tokenizer = BertTokenizer.from_pretrained(corpus.folder / "tokenizer")
    for source in ("english", "russian"):
        texts = texts_of(words, source)
        tokens = [token for text in texts for token in tokenizer.tokenize(text)]
        latin = sum(c.isalpha() and c.isascii() for text in texts for c in text)
        cyrillic = sum("а" <= c.lower() <= "я" for text in texts for c in text)
        found = result["sources"][source]
        assert found["tokens"] == len(tokens)
        assert found["unknown_rate"] == tokens.count("[UNK]") / len(tokens)
        assert found["scripts"]["Latin"] == latin / (latin + cyrillic)
        assert found["scripts"].get("Cyrillic", 0) == cyrillic / (latin + cyrillic)
    # The vocabulary was trained on the English text.
    assert (
        result["sources"]["english"]["unknown_rate"]
        == 0
        < result["sources"]["russian"]["unknown_rate"]
    )


def test_people_see_both_figures_and_the_warnings(built: tuple[Corpus, dict[str, Any]]) -> None:
    result = built[1]
    found = result["sources"]["russian"]
    rate, cyrillic, latin = (
        found["unknown_rate"],
        found["scripts"]["Cyrillic"],
        found["scripts"]["Latin"],
    )
    assert result["warnings"] == [
        f"source russian: {rate:.2%} of its tokens are unknown to the vocabulary, more than "
        "warn_unknown_rate=0.01; the tokenizer does not fit the text",
        f"source russian: {cyrillic:.0%} of its letters are Cyrillic; language en is written in "
        "Latin",
    ]
    stream = StringIO()
    Console(file=stream, width=200).print(corpus_table(result))
    shown = stream.getvalue()
    assert f"unknown {rate:.2%}, Cyrillic {cyrillic:.1%}, Latin {latin:.1%}" in shown
    assert all(warning in shown for warning in result["warnings"])


def test_several_processes_and_shards_of_another_size_report_the_same(
    words: list[str], built: tuple[Corpus, dict[str, Any]], english: Corpus, tmp_path: Path
) -> None:
    for processes, shard_bytes in ((2, 5000), (1, 20_000)):
        again = build(words, tmp_path / str(processes), english, processes, shard_bytes)
        assert again["sources"] == built[1]["sources"]


def test_the_limit_decides_what_is_warned_of(built: tuple[Corpus, dict[str, Any]]) -> None:
    corpus, result = built
    rate = result["sources"]["russian"]["unknown_rate"]
    for limit, warned in ((rate, False), (rate - 1e-6, True)):
        found = summary(corpus.manifest, corpus.folder, {}, limit)["warnings"]
        assert any("unknown to the vocabulary" in warning for warning in found) == warned


def test_a_corpus_that_was_made_before_opens_and_reports_what_is_added(
    words: list[str], english: Corpus, tmp_path: Path
) -> None:
    build(words[1:], tmp_path / "corpus", english)
    path = tmp_path / "corpus" / "manifest.json"
    whole = Corpus(tmp_path / "corpus").manifest
    stored = json.loads(path.read_text(encoding="utf-8"))
    for shard in stored["shards"]:
        del shard["unknown_tokens"], shard["scripts"]
    del stored["settings"]["warn_unknown_rate"]
    path.write_text(json.dumps(stored), encoding="utf-8")
    assert Corpus(tmp_path / "corpus").manifest.fingerprint == whole.fingerprint
    result = pipeline.build(added_to(words[:1], tmp_path / "corpus", PrepareConfig()), 1, quiet)
    assert result["sources"]["russian"]["unknown_rate"] is None
    assert result["sources"]["russian"]["scripts"] == {}
    assert result["sources"]["english"]["scripts"] == {"Latin": 1.0}
    assert result["warnings"] == []
