"""The corpus on disk: passages equal slices of the arrays, nothing is pickled, the fingerprint
names the content.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.corpus.store.corpus import Corpus, TextSplit
from ernie_cmtl.corpus.store.manifest import SPLITS, Split
from ernie_cmtl.errors import UserError
from tests.support.corpora import build_corpus, sample_texts

LAYERS = ("word_starts", "letter_case", "capitalized_names", "collocations")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The English sample in many small shards."""
    folder = tmp_path_factory.mktemp("sharded")
    build_corpus(folder, sample_texts("en"), shard_bytes=16_000)
    corpus = Corpus(folder / "corpus")
    assert sum(shard.train.tokens > 0 for shard in corpus.manifest.shards) > 5
    assert sum(shard.heldout.tokens > 0 for shard in corpus.manifest.shards) > 1
    return corpus


@cache
def opened(corpus: Corpus, split: Split) -> tuple[TextSplit, dict[str, Any]]:
    return corpus.split(split), concatenated(corpus, split)


def concatenated(corpus: Corpus, split: Split) -> dict[str, Any]:
    """The whole split, read from the files without the code under test; sentences and documents as
    lists of lengths.
    """
    rows: dict[str, list[Any]] = {
        name: [] for name in ("token_ids", *LAYERS, "sentence", "document")
    }
    for shard in json.loads((corpus.folder / "manifest.json").read_text())["shards"]:
        folder = corpus.folder / "shards" / shard["name"]
        documents = np.diff(np.load(folder / "document_offsets.npy")).tolist()
        sentences = np.diff(np.load(folder / "sentence_offsets.npy")).tolist()
        first, last = (
            (0, shard["train"]["documents"])
            if split == "train"
            else (shard["train"]["documents"], len(documents))
        )
        before = sum(documents[:first])
        rows["document"] += documents[first:last]
        rows["sentence"] += (own := sentences[before : before + sum(documents[first:last])])
        start = sum(sentences[:before])
        for name in ("token_ids", *LAYERS):
            rows[name] += np.load(folder / f"{name}.npy")[start : start + sum(own)].tolist()
    return {
        name: row if name in ("sentence", "document") else np.array(row)
        for name, row in rows.items()
    }


def test_a_split_shows_all_its_shards_as_one_text(sharded: Corpus) -> None:
    for name in SPLITS:
        split, expected = opened(sharded, name)
        assert split.tokens == len(expected["token_ids"]) == sharded.manifest.count("tokens", name)
        assert (
            split.documents
            == len(expected["document"])
            == sharded.manifest.count("documents", name)
        )
        assert np.diff(split.sentence_offsets).tolist() == expected["sentence"]
        assert np.diff(split.document_offsets).tolist() == expected["document"]
        ends = np.cumsum(expected["sentence"])[np.cumsum(expected["document"]) - 1]
        assert split.document_tokens.tolist() == [0, *ends.tolist()]
        assert split.document_tokens[-1] == split.tokens


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_passage_equals_slicing_the_concatenated_arrays(
    sharded: Corpus, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(SPLITS))
    split, expected = opened(sharded, name)
    document = data.draw(st.integers(0, split.documents - 1))
    first, last = split.document_tokens[document : document + 2].tolist()
    start = data.draw(st.integers(first, last - 1))
    stop = data.draw(st.integers(start + 1, min(last, start + 200)))
    layers = data.draw(st.lists(st.sampled_from(LAYERS), unique=True))
    passage = split.passage(start, stop, layers)
    assert passage.token_ids.dtype == np.int64
    assert passage.token_ids.tolist() == expected["token_ids"][start:stop].tolist()
    inner = [end for end in np.cumsum(expected["sentence"]).tolist() if start < end < stop]
    assert passage.sentence_offsets.tolist() == [0, *(end - start for end in inner), stop - start]
    assert {layer: values.tolist() for layer, values in passage.layers.items()} == {
        layer: expected[layer][start:stop].tolist() for layer in layers
    }


def test_each_whole_document_can_be_read_wherever_its_shard_ends(sharded: Corpus) -> None:
    for name in SPLITS:
        split, expected = opened(sharded, name)
        sentences = iter(expected["sentence"])
        for document, count in enumerate(expected["document"]):
            start, stop = split.document_tokens[document : document + 2].tolist()
            passage = split.passage(start, stop, LAYERS)
            assert passage.token_ids.tolist() == expected["token_ids"][start:stop].tolist()
            assert np.diff(passage.sentence_offsets).tolist() == [
                next(sentences) for _ in range(count)
            ]


def test_array_files_hold_no_pickle_and_every_file_has_its_hash_in_the_manifest(
    sharded: Corpus,
) -> None:
    manifest = sharded.manifest
    arrays = list(sharded.folder.rglob("*.npy"))
    assert all(np.load(path, allow_pickle=False).dtype.kind in "uib" for path in arrays)
    hashes = {
        sharded.folder / "shards" / shard.name / f"{name}.npy": value
        for shard in manifest.shards
        for name, value in shard.hashes.items()
    } | {sharded.folder / name: value for name, value in manifest.files.items()}
    # The log, the manifest and each shard's own record are for people and for the build.
    others = {"manifest.json", "rejects.jsonl", "shard.json"}
    assert set(hashes) == {
        path for path in sharded.folder.rglob("*") if path.is_file() and path.name not in others
    }
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in hashes} == hashes


@pytest.mark.parametrize("name", ["token_ids", "collocations", "document_offsets", "digests"])
def test_one_flipped_byte_is_refused(english: Corpus, tmp_path: Path, name: str) -> None:
    shutil.copytree(english.folder, tmp_path / "corpus")
    path = tmp_path / "corpus" / "shards" / "00000" / f"{name}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(
        UserError, match=rf"corpus .* is damaged: shards/00000/{name}.npy was changed"
    ):
        Corpus(tmp_path / "corpus").split("heldout")


def test_a_missing_layer_file_and_a_changed_tokenizer_are_refused(
    english: Corpus, tmp_path: Path
) -> None:
    shutil.copytree(english.folder, tmp_path / "corpus")
    (tmp_path / "corpus" / "tokenizer" / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"tokenizer/tokenizer.json was changed"):
        Corpus(tmp_path / "corpus").split("train")
    (tmp_path / "corpus" / "shards" / "00000" / "word_starts.npy").unlink()
    (tmp_path / "corpus" / "tokenizer" / "tokenizer.json").write_bytes(
        (english.folder / "tokenizer" / "tokenizer.json").read_bytes()
    )
    with pytest.raises(UserError, match=r"shards/00000/word_starts.npy is missing"):
        Corpus(tmp_path / "corpus").split("train")


def test_arrays_that_hold_a_pickle_are_not_loaded(english: Corpus, tmp_path: Path) -> None:
    shutil.copytree(english.folder, tmp_path / "corpus")
    path = tmp_path / "corpus" / "shards" / "00000" / "token_ids.npy"
    np.save(path, np.array([{"any": "object"}]), allow_pickle=True)
    # As somebody would who writes a hostile corpus: the manifest names the file's own hash.
    manifest = json.loads((tmp_path / "corpus" / "manifest.json").read_text())
    manifest["shards"][0]["hashes"]["token_ids"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "corpus" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"pickle|object"):
        Corpus(tmp_path / "corpus").split("train")


def test_a_corpus_is_read_only(english: Corpus) -> None:
    split = english.split("train")
    with pytest.raises(ValueError, match="read-only"):
        split.arrays[0]["token_ids"][0] = 1
    assert english.split("train").passage(0, 1, ()).token_ids.flags.writeable


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_a_corpus_is_the_users_mistake(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"no corpus at .*{name}.*prepare"):
        Corpus(tmp_path / name)


@pytest.mark.parametrize("content", ['{"format": 99}', "{}"])
def test_a_corpus_of_another_format_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="this version reads 3"):
        Corpus(tmp_path)


@pytest.mark.parametrize("content", ["", '{"format": 1'])
def test_a_manifest_that_was_cut_off_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="manifest"):
        Corpus(tmp_path)


def swapped_word(texts: list[str]) -> list[str]:
    return [texts[0].replace(" statement", " expression", 1), *texts[1:]]


def another_case(texts: list[str]) -> list[str]:
    return [texts[0].replace("Assert ", "assert ", 1), *texts[1:]]


def one_text_less(texts: list[str]) -> list[str]:
    return texts[:-1]


def another_order(texts: list[str]) -> list[str]:
    return texts[::-1]


@pytest.mark.parametrize("change", [swapped_word, another_case, one_text_less, another_order])
def test_the_fingerprint_changes_with_the_text(
    tmp_path: Path, change: Callable[[list[str]], list[str]]
) -> None:
    texts = sample_texts("en", 8)
    assert change(texts) != texts
    first, again, other = [
        build_corpus(tmp_path / name, t)
        for name, t in (("a", texts), ("b", list(texts)), ("c", change(texts)))
    ]
    assert (
        first["fingerprint"]
        == again["fingerprint"]
        == Corpus(tmp_path / "a" / "corpus").manifest.fingerprint
    )
    assert first["fingerprint"] != other["fingerprint"]


def test_the_fingerprint_changes_with_the_annotation_settings(tmp_path: Path) -> None:
    texts = sample_texts("en", 8)
    settings: dict[str, dict[str, Any]] = {
        "a": {},
        "collocations": {"layers": {"collocations": {"minimum_count": 3}}},
        "vocabulary": {"tokenizer": {"vocabulary_size": 500}},
        "heldout": {"heldout_minimum": 1},
        "shards": {"shard_bytes": 8000},
    }
    found = [
        build_corpus(tmp_path / name, texts, **values)["fingerprint"]
        for name, values in settings.items()
    ]
    assert len(set(found)) == len(found)


def test_damage_is_refused_when_python_drops_its_assertions(
    english: Corpus, tmp_path: Path
) -> None:
    shutil.copytree(english.folder, tmp_path / "corpus")
    path = tmp_path / "corpus" / "shards" / "00000" / "token_ids.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    script = (
        "from ernie_cmtl.corpus.store.corpus import Corpus; "
        f"Corpus({str(tmp_path / 'corpus')!r}).split('train')"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", script], capture_output=True, text=True, check=False
    )
    assert "is damaged: shards/00000/token_ids.npy" in done.stderr


def test_of_many_shards_some_at_even_distances_tell_the_frequencies(english: Corpus) -> None:
    split = english.split("train")
    rare, frequent = np.array([1, 2], dtype=np.uint16), np.array([2, 2], dtype=np.uint16)
    many = replace(
        split,
        arrays=[{"token_ids": rare if number % 3 == 0 else frequent} for number in range(130)],
    )
    # Every third of 130 shards is counted: 44 of the rare kind.
    assert many.token_counts(4).tolist() == [0, 44, 44, 0]


@pytest.mark.parametrize("what", ["cut", "longer", "gone"])
@pytest.mark.parametrize("name", ["token_ids", "collocations"])
def test_a_file_that_changes_its_size_while_it_is_in_use_is_named(
    sharded: Corpus, tmp_path: Path, name: str, what: str
) -> None:
    shutil.copytree(sharded.folder, tmp_path / "corpus")
    corpus = Corpus(tmp_path / "corpus")
    corpus.check_sizes()
    corpus.split("train")
    corpus.check_sizes()
    path = corpus.folder / "shards" / "00001" / f"{name}.npy"
    size = path.stat().st_size
    if what == "gone":
        path.unlink()
    else:
        os.truncate(path, size - 1 if what == "cut" else size + 1)
    now = "is missing" if what == "gone" else f"has {path.stat().st_size} bytes"
    with pytest.raises(UserError, match=rf"00001/{name}.npy {now}, and had {size}; restore it"):
        corpus.check_sizes()
