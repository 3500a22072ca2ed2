"""Datasets as inputs: rows become documents, and what cannot be opened is the user's mistake, told
in one message and soon.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from ernie_cmtl.corpus.read.documents import read_documents
from ernie_cmtl.corpus.read.inputs import find_inputs
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
    monkeypatch.setattr("datasets.config.HF_MODULES_CACHE", str(cache))


def table(texts: list[Any]) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"number": list(range(len(texts))), "text": texts})


def read(word: str, **config: Any) -> list[Document | Rejection]:
    (source,) = find_inputs([word])
    return list(read_documents(source, ReaderConfig(**config)))


def texts(word: str, **config: Any) -> list[str]:
    return [
        item.text if isinstance(item, Document) else item.reason for item in read(word, **config)
    ]


def jsonl(path: Path, *rows: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_dataset_that_was_saved_to_disk_is_read_in_order(tmp_path: Path) -> None:
    table([f"text {number}" for number in range(1000)]).save_to_disk(tmp_path / "saved")
    items = read(f"datasets:{tmp_path}/saved")
    assert items == [
        Document(f"saved#{number + 1}", f"text {number}", len(f"text {number}"))
        for number in range(1000)
    ]


def test_the_split_of_a_saved_dataset_is_chosen_and_train_by_default(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    datasets.DatasetDict(train=table(["one"]), test=table(["two"])).save_to_disk(saved)
    assert texts(f"datasets:{saved}") == ["one"]
    assert texts(f"datasets:{saved},split=test") == ["two"]
    with pytest.raises(UserError, match=r"no split 'dev'.*train, test"):
        texts(f"datasets:{saved},split=dev")
    with pytest.raises(UserError, match=r"save_to_disk.*revision.*accepted: split"):
        texts(f"datasets:{saved},revision=main")
    with pytest.raises(UserError, match=r"no split 'test'.*one dataset"):
        texts(f"datasets:{saved}/train,split=test")


def test_a_local_folder_is_opened_by_load_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    parquet.write_table(
        pyarrow.table({"body": ["one", None, " ", "four"], "id": [1, 2, 3, 4]}),
        folder / "train.parquet",
    )
    parquet.write_table(pyarrow.table({"body": ["five"], "id": [5]}), folder / "test.parquet")
    assert texts(f"datasets:{folder}", text_field="body") == [
        "one",
        "no_text_field",
        "empty",
        "four",
    ]
    assert texts(f"datasets:{folder},split=test", text_field="body") == ["five"]
    assert [item.identifier for item in read(f"datasets:{folder}", text_field="body")] == [
        f"folder#{n}" for n in range(1, 5)
    ]


def test_rows_of_a_dataset_that_are_no_text_are_rejected_alone(tmp_path: Path) -> None:
    strings = pyarrow.array([b"one", b"caf\xe9", b"three"], pyarrow.binary()).cast(
        pyarrow.string(), safe=False
    )
    (tmp_path / "data").mkdir()
    parquet.write_table(pyarrow.table({"text": strings}), tmp_path / "data" / "train.parquet")
    assert texts(f"datasets:{tmp_path}/data") == ["one", "invalid_utf8", "three"]


def test_options_reach_load_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    jsonl(folder / "en" / "a.jsonl", {"text": "one"}, {"text": "two"})
    jsonl(folder / "fr" / "b.jsonl", {"text": "un"})
    configs = "".join(
        f"- config_name: {name}\n  data_files: {name}/*.jsonl\n" for name in ("en", "fr")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    assert texts(f"datasets:{folder},name=fr") == ["un"]
    assert texts(f"datasets:json,data_files={folder}/en/*.jsonl") == ["one", "two"]
    (folder / "README.md").unlink()
    assert texts(f"datasets:{folder},data_dir=en,split=train") == ["one", "two"]


def test_what_a_dataset_does_not_have_is_named_with_what_it_has(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    jsonl(folder / "a.jsonl", {"text": "one", "id": 1})
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: en\n  data_files: a.jsonl\n---\n"
    )
    with pytest.raises(UserError, match=r"split=dev.*'?dev'?.*train"):
        texts(f"datasets:{folder},split=dev")
    with pytest.raises(UserError, match=r"name=de.*'?de'?.*en"):
        texts(f"datasets:{folder},name=de")
    with pytest.raises(
        UserError, match=r"folder has no column 'body'.*text, id.*reader\.text_field="
    ):
        texts(f"datasets:{folder}", text_field="body")


def test_a_dataset_that_breaks_off_is_an_error_that_says_where(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"text": ["one"] * 300}), tmp_path / "train-1.parquet")
    (tmp_path / "train-2.parquet").write_bytes(b"PAR1" + bytes(50))
    with pytest.raises(UserError, match=r"cannot be read beyond row \d+"):
        texts(f"datasets:{tmp_path}")


@pytest.mark.parametrize(
    "word",
    [
        "datasets:",
        "datasets:x,splits=train",
        "datasets:x,split",
        "datasets:x,split=",
        "datasets:x,,",
    ],
)
def test_a_word_that_names_no_dataset_is_answered_with_how_to_write_one(word: str) -> None:
    with pytest.raises(UserError, match=r"datasets:NAME\[,name=CONFIG\]\[,split=train\]"):
        find_inputs([word])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("datasets:{0}/absent", "no folder .*absent"),
        ("datasets:json", "data_files="),
        ("someone/something", "datasets:someone/something"),
        ("{0}/saved", "datasets:.*saved"),
    ],
)
def test_a_dataset_that_is_not_where_it_was_looked_for_is_explained(
    tmp_path: Path, word: str, message: str
) -> None:
    table(["one"]).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=message):
        find_inputs([word.format(tmp_path)])


def test_files_come_before_datasets_and_each_input_once(tmp_path: Path) -> None:
    table(["one"]).save_to_disk(tmp_path / "saved")
    jsonl(tmp_path / "z.jsonl", {"text": "two"})
    word = f"datasets:{tmp_path}/saved"
    found = find_inputs([word, str(tmp_path / "z.jsonl"), word])
    assert [(source.name, source.label) for source in found] == [
        ("z.jsonl", f"{tmp_path}/z.jsonl"),
        ("saved", word),
    ]
    assert [len(source.stamp()) for source in found] == [2, 0]


@pytest.mark.parametrize(
    "network",
    [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}],
    ids=["offline", "no Hub"],
)
def test_a_hub_that_cannot_be_reached_is_one_message_and_soon(
    tmp_path: Path, network: dict[str, str]
) -> None:
    words = [
        "--input",
        "datasets:someone/something,split=train",
        "--output",
        str(tmp_path / "corpus"),
        "--language",
        "en",
    ]
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= network | {
        "HF_HOME": str(tmp_path / "cache"),
        "HF_DATASETS_CACHE": str(tmp_path / "cache" / "datasets"),
    }
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "launch.py", "prepare", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "datasets:someone/something,split=train" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Retry" not in done.stderr
    assert time.monotonic() - start < 20
