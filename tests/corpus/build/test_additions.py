"""What is added to a corpus that is there: text, layers, labelled rows. What stood there before
stays as it was.
"""

import json
import shutil
from collections import Counter
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.request import added_to
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from tests.support.corpora import make_corpus, quiet, sample_texts, write_jsonl
from tests.support.counted_documents import documents_of

SETTINGS: dict[str, Any] = {"shard_bytes": 20_000}


def add(
    corpus: Path, words: list[str] | None = None, processes: int = 1, **settings: Any
) -> dict[str, Any]:
    return build(
        added_to(words or [], corpus, PrepareConfig.model_validate(settings)), processes, quiet
    )


def files(corpus: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(corpus)): p.read_bytes()
        for p in sorted((corpus / "shards").rglob("*.npy"))
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    write_jsonl(folder / "first.jsonl", sample_texts("en", 24))
    layers = {"collocations": {"minimum_count": 4}}
    make_corpus([f"docs={folder / 'first.jsonl'}"], folder / "corpus", layers=layers, **SETTINGS)
    return folder


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    """A corpus of 24 documents without a layer of names, to add to."""
    shutil.copytree(built / "corpus", tmp_path / "corpus")
    return tmp_path / "corpus"


def test_added_text_makes_new_shards_and_leaves_the_others(copied: Path, tmp_path: Path) -> None:
    before, manifest = files(copied), Corpus(copied).manifest
    texts = sample_texts("en", 40)
    more = write_jsonl(tmp_path / "more.jsonl", [*texts[20:], texts[30], "{", " "])
    result = add(copied, [f"docs={more}"])
    after, now = files(copied), Corpus(copied).manifest
    assert {name: after[name] for name in before} == before
    assert now.shards[: len(manifest.shards)] == manifest.shards
    assert len(now.shards) > len(manifest.shards)
    # Four are in the corpus already, one is there twice.
    read = len(texts[20:]) + 3
    assert result["documents"]["read"] == manifest.documents["read"] + read
    assert result["documents"]["duplicates"] == 5
    assert result["documents"]["used"] == 24 + len(texts[24:]) + 1
    assert now.fingerprint != manifest.fingerprint
    assert now.heldout_below == manifest.heldout_below
    rejects = [
        json.loads(line)["reason"] for line in (copied / "rejects.jsonl").read_text().splitlines()
    ]
    assert rejects == ["empty"]


def test_what_was_fitted_is_used_as_it_is_for_added_text(copied: Path, tmp_path: Path) -> None:
    lexicon = (copied / "fitted" / "collocations" / "lexicon.npy").read_bytes()
    tokenizer = (copied / "tokenizer" / "tokenizer.json").read_bytes()
    more = write_jsonl(tmp_path / "more.jsonl", sample_texts("en", 40)[24:])
    add(copied, [f"more={more}"])
    assert (copied / "fitted" / "collocations" / "lexicon.npy").read_bytes() == lexicon
    assert (copied / "tokenizer" / "tokenizer.json").read_bytes() == tokenizer
    corpus = Corpus(copied)
    assert corpus.manifest.sources == ["docs", "more"]
    split = corpus.split("train")
    of_more = np.flatnonzero(split.sources(split.document_tokens[:-1]) == "more")
    layers = [
        split.passage(*split.document_tokens[d : d + 2].tolist(), ("collocations",))
        for d in of_more
    ]
    assert sum(int(text.layers["collocations"].any()) for text in layers) > len(layers) / 2


def test_adding_in_two_steps_gives_the_same_as_adding_after_a_break(
    copied: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    more = write_jsonl(tmp_path / "more.jsonl", sample_texts("en", 40)[24:])
    shutil.copytree(copied, tmp_path / "other")
    add(copied, [f"more={more}"])

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ernie_cmtl.corpus.build.pipeline.add_fitted_layers", broken)
        with pytest.raises(KeyboardInterrupt):
            add(tmp_path / "other", [f"more={more}"])
    # Half-way, the corpus is still what it was.
    assert Corpus(tmp_path / "other").manifest.sources == ["docs"]
    add(tmp_path / "other", [f"more={more}"], processes=2)
    assert files(tmp_path / "other") == files(copied)
    assert Corpus(tmp_path / "other").manifest.fingerprint == Corpus(copied).manifest.fingerprint


def test_a_layer_that_is_added_equals_one_that_was_built(
    copied: Path, built: Path, tmp_path: Path
) -> None:
    result = add(copied, layers={"capitalized_names": {}})
    layers = {"collocations": {"minimum_count": 4}, "capitalized_names": {}}
    make_corpus([f"docs={built / 'first.jsonl'}"], tmp_path / "at_once", layers=layers, **SETTINGS)
    assert files(copied) == files(tmp_path / "at_once")
    assert result["fingerprint"] == Corpus(tmp_path / "at_once").manifest.fingerprint
    text = Corpus(copied).split("train").passage(0, 400, ("capitalized_names",))
    assert text.layers["capitalized_names"].any()


def test_counts_that_are_added_equal_those_that_were_built(
    copied: Path, built: Path, tmp_path: Path
) -> None:
    layers: dict[str, Any] = {"collocations": {"minimum_count": 4}}
    counts: dict[str, Any] = {"document_counts": {}, "inverse_document_frequency": {"steps": 20}}
    result = add(copied, layers=counts, processes=2)
    make_corpus(
        [f"docs={built / 'first.jsonl'}"], tmp_path / "at_once", layers=layers | counts, **SETTINGS
    )
    assert files(copied) == files(tmp_path / "at_once")
    assert result["fingerprint"] == Corpus(tmp_path / "at_once").manifest.fingerprint


def test_added_text_is_counted_by_the_document_and_weighed_as_before(
    copied: Path, tmp_path: Path
) -> None:
    """The options too are those of the layer as it was made, though nobody names them again."""
    add(copied, layers={"document_counts": {}, "inverse_document_frequency": {"steps": 20}})
    before = documents_of(copied, "inverse_document_frequency")
    known = {
        token: value
        for rows in before
        for tokens, found in rows
        for token, value in zip(tokens, found, strict=True)
    }
    nowhere = round(20 * log(1 + len(before[0])))
    add(copied, [f"more={write_jsonl(tmp_path / 'more.jsonl', sample_texts('en', 40)[24:])}"])
    weighed, counted = (
        documents_of(copied, name) for name in ("inverse_document_frequency", "document_counts")
    )
    assert len(weighed[0]) > len(before[0])
    for tokens, found in weighed[0] + weighed[1]:
        assert found == [known.get(token, nowhere) for token in tokens]
    for tokens, found in counted[0] + counted[1]:
        counts = Counter(tokens)
        assert found == [counts[token] for token in tokens]
    assert Corpus(copied).profile.layer_options["inverse_document_frequency"] == {"steps": 20}


def test_a_layer_is_found_for_text_of_every_addition(copied: Path, tmp_path: Path) -> None:
    more = write_jsonl(tmp_path / "more.jsonl", sample_texts("en", 40)[20:])
    add(copied, [f"docs={more}"])
    add(copied, layers={"capitalized_names": {}})
    corpus = Corpus(copied)
    assert all("capitalized_names" in shard.hashes for shard in corpus.manifest.shards)
    assert corpus.profile.spans == ("collocations", "capitalized_names")


def test_a_layer_for_text_that_is_not_what_it_was_is_refused(
    copied: Path, built: Path, tmp_path: Path
) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    other = write_jsonl(
        tmp_path / "first.jsonl", [text.replace("the", "teh") for text in sample_texts("en", 24)]
    )
    manifest["additions"][0]["inputs"] = [["docs", str(other)]]
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"text of shard 00000 \(source docs\) is not what it was"):
        add(copied, layers={"capitalized_names": {}})
    other.unlink()
    with pytest.raises(UserError, match=r"no such file.*first.jsonl"):
        add(copied, layers={"capitalized_names": {}})


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (
            [],
            {},
            "nothing to add: name text with --input, layers with --layers, or labelled rows with "
            "--labelled",
        ),
        (
            [],
            {"layers": {"collocations": {}}},
            "has layer collocations already; it has word_starts, letter_case, collocations",
        ),
        (
            [],
            {"layers": {"names": {}}},
            "no layer named 'names'; registered are .*capitalized_names",
        ),
        ([], {"layers": {"tagged_names": {}}}, "'tagged_names' supports zh; the corpus is 'en'"),
        ([], {"layers": {"collocation": {"x": 1}}}, "no layer named 'collocation'"),
        (
            [],
            {"layers": {"capitalized_names": {"minimum": 2}}},
            "layers.capitalized_names: minimum: .*options are minimum_words",
        ),
        (["nowhere.txt"], {}, "no such file, folder or glob: nowhere.txt"),
    ],
)
def test_what_cannot_be_added_is_refused_and_nothing_changes(
    copied: Path, words: list[str], settings: dict[str, Any], message: str
) -> None:
    before = sorted(str(path) for path in copied.rglob("*"))
    with pytest.raises(UserError, match=message):
        add(copied, words, **settings)
    assert sorted(str(path) for path in copied.rglob("*")) == before


def test_a_damaged_corpus_is_not_added_to(copied: Path, tmp_path: Path) -> None:
    path = copied / "shards" / "00000" / "token_ids.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged: shards/00000/token_ids.npy"):
        add(copied, [str(write_jsonl(tmp_path / "more.jsonl", sample_texts("en", 40)[24:]))])


def test_a_mixture_must_name_the_sources_old_and_new(copied: Path, tmp_path: Path) -> None:
    more = write_jsonl(tmp_path / "more.jsonl", sample_texts("en", 40)[24:])
    add(copied, [f"more={more}"], mixture={"docs": 0.25, "more": 0.75})
    assert Corpus(copied).manifest.mixture == {"docs": 0.25, "more": 0.75}
    other = write_jsonl(tmp_path / "other.jsonl", ["One more text. It has two sentences."])
    with pytest.raises(
        UserError, match="mixture gives no weight to other; sources are docs, more, other"
    ):
        add(copied, [f"other={other}"])
