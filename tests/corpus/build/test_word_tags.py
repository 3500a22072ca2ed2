"""Tags of words beside the tokens of a labelled table: which token has one, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_cmtl.corpus.build.word_tags import TaggedWord, tag_layer
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.store.manifest import LabelledTable
from ernie_cmtl.corpus.store.text_split import TextSplit
from ernie_cmtl.corpus.tokens.tokenizer import raw_text_tokenizer
from ernie_cmtl.errors import UserError
from tests.support.corpora import make_corpus
from tests.support.labelled_rows import TAGGED

KINDS = {"tokens": "text", "ner": "tags"}


def store(
    folder: Path, rows: list[dict[str, Any]], language: str = "en", columns: Any = None
) -> Corpus:
    """Prepare a corpus of one table named `names`."""
    folder.mkdir(exist_ok=True)
    file = folder / "names.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    labelled = {"names": {"file": str(file), "columns": columns}}
    make_corpus([], folder / "corpus", language, labelled=labelled, layers={})
    return Corpus(folder / "corpus")


def tagged_rows(corpus: Corpus, split: TextSplit, column: str) -> dict[str, list[tuple[str, str]]]:
    """Return text -> (token, its tag) of the tokens that have one."""
    names = corpus.profile.tables["names"].tags[column]
    found = {}
    for start, stop in zip(split.document_tokens[:-1], split.document_tokens[1:], strict=True):
        ids = split.passage(int(start), int(stop), ()).token_ids
        tokens = [corpus.vocabulary.tokens[one] for one in ids]
        tags = split.labels[column][start:stop]
        found["".join(tokens).replace("##", "")] = [
            (token, names[tag]) for token, tag in zip(tokens, tags, strict=True) if tag >= 0
        ]
    return found


@pytest.mark.parametrize("processes", [1, 2])
def test_each_word_has_its_tag_at_its_first_token(tmp_path: Path, processes: int) -> None:
    rows = [
        {"tokens": [*words, "ex-mayor's"], "ner": [*tags, "B-ROLE"], "known": number % 2}
        for number, (words, tags) in enumerate(TAGGED)
    ]
    corpus = store(tmp_path, rows)
    table = corpus.manifest.labelled["names"]
    # Guessed: lists of few different values are tags, the others words.
    assert {name: column.kind for name, column in table.columns.items()} == {
        "tokens": "text",
        "ner": "tags",
        "known": "class",
    }
    assert corpus.profile.tables["names"].tags == {"ner": ("B-LOC", "B-PER", "B-ROLE", "O")}
    tokenizer = raw_text_tokenizer(corpus.folder / "tokenizer")
    seen = 0
    for split in ("train", "heldout"):
        found = tagged_rows(corpus, corpus.text(split, "names"), "ner")  # type: ignore[arg-type]
        for row in rows:
            pieces = [tokenizer.encode(w, add_special_tokens=False).tokens for w in row["tokens"]]
            joined = "".join(piece for word in pieces for piece in word).replace("##", "")
            if joined in found:
                seen += 1
                firsts = [word[0] for word in pieces]
                assert found[joined] == list(zip(firsts, row["ner"], strict=True))
                assert len(pieces[-1]) > 3
    assert seen == len(rows)


def test_chinese_words_are_joined_by_nothing(tmp_path: Path) -> None:
    rows = [
        {"tokens": ["小明", "住", "在", place, "。", str(number)], "ner": ["人", *"外外地外外"]}
        for number, place in enumerate(["上海", "北京", "南京", "广州"] * 6)
    ]
    corpus = store(tmp_path, rows, "zh", KINDS)
    found = tagged_rows(corpus, corpus.text("train", "names"), "ner")
    text, tags = next(item for item in found.items() if "上海" in item[0])
    assert text.startswith("小明住在上海。")
    assert tags[:5] == [("小", "人"), ("住", "外"), ("在", "外"), ("上", "地"), ("。", "外")]


def test_words_and_tags_may_be_texts_with_spaces(tmp_path: Path) -> None:
    rows = [{"tokens": "  " + "  ".join(words), "ner": " ".join(tags)} for words, tags in TAGGED]
    lists = [{"tokens": words, "ner": tags} for words, tags in TAGGED]
    corpora = [
        store(tmp_path / str(n), given, "en", KINDS) for n, given in enumerate([rows, lists])
    ]
    spaced, listed = (tagged_rows(c, c.text("train", "names"), "ner") for c in corpora)
    both = spaced.keys() & listed.keys()
    assert len(both) > 30
    assert all(spaced[text] == listed[text] for text in both)


def test_a_word_in_which_no_token_begins_has_no_tag() -> None:
    words = [TaggedWord(0, 2, "a"), TaggedWord(2, 4, "b"), TaggedWord(5, 9, "a")]
    starts = np.array([0, 1, 5, 7], dtype=np.int64)
    assert tag_layer(words, {"a": 0, "b": 1}, starts).tolist() == [0, -1, 0, -1]
    assert tag_layer(words, {"a": 0, "b": 1}, np.array([0])).tolist() == [0]
    assert tag_layer([], {}, starts).tolist() == [-1] * 4


def test_a_table_without_tags_is_described_as_ever() -> None:
    """Corpora that are there keep their fingerprints."""
    table = {
        "columns": {"a": {"kind": "text", "classes": []}},
        "rows": {"train": 1, "heldout": 0},
        "hashes": {},
    }
    assert LabelledTable.model_validate(table).model_dump(mode="json") == table


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        (
            {"tokens": ["a", "b"], "ner": ["O"]},
            KINDS,
            r"names\.jsonl, line 49: 2 words in 'tokens' and 1 tags in 'ner'; give each word one",
        ),
        (
            {"tokens": ["a", None], "ner": ["O", "O"]},
            KINDS,
            "line 49: number 2 in 'tokens' is None",
        ),
        ({"tokens": ["a"], "ner": [["O"]]}, KINDS, r"line 49: number 1 in 'ner' is \['O'\]"),
        ({"tokens": ["a"], "ner": 3}, KINDS, "line 49: 3 in 'ner' is no list of words or tags"),
        ({"tokens": ["a"], "ner": ["O"]}, {"tokens": "text", "pos": "tags"}, "no 'pos'; its keys"),
        (
            {"tokens": ["a"], "ner": ["O"], "title": "a"},
            KINDS | {"title": "text"},
            "has tags and the texts tokens, title, and tags stand at the words of one text",
        ),
    ],
)
def test_tags_that_do_not_fit_are_refused(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, str], message: str
) -> None:
    rows = [{"tokens": w, "ner": t, "title": f"a {n}"} for n, (w, t) in enumerate(TAGGED[:48])]
    rows += [{"tokens": w, "ner": t, "title": "b"} for w, t in TAGGED[48:48]]
    with pytest.raises(UserError, match=message):
        store(tmp_path, [*rows, row], "en", columns)
    assert not (tmp_path / "corpus" / "manifest.json").exists()


def test_a_tag_that_the_manifest_lacks_is_damage(tmp_path: Path) -> None:
    corpus = store(tmp_path, [{"tokens": w, "ner": t} for w, t in TAGGED], "en", KINDS)
    manifest = json.loads((corpus.folder / "manifest.json").read_text())
    manifest["labelled"]["names"]["columns"]["ner"]["classes"].pop()
    (corpus.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"labels-1\.npy is damaged: it holds a tag that its"):
        Corpus(corpus.folder).verify()
