"""A dataset that others made brings its own text and no file from elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from ernie_cmtl.corpus.read.dataset_files import check_data_files
from ernie_cmtl.corpus.read.documents import read_documents
from ernie_cmtl.corpus.read.inputs import find_inputs
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
    monkeypatch.setattr("datasets.config.HF_MODULES_CACHE", str(cache))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of others, beside a file and a saved dataset that are private."""
    (tmp_path / "private.jsonl").write_text('{"text": "private words"}\n')
    (tmp_path / "theirs").mkdir()
    saved = datasets.Dataset.from_dict({"text": ["private words"]})
    saved.save_to_disk(tmp_path / "saved")
    return tmp_path / "theirs"


def texts(word: str) -> list[str]:
    (source,) = find_inputs([word])
    found = read_documents(source, ReaderConfig())
    return [item.text for item in found if isinstance(item, Document)]


def card(pattern: str) -> Callable[[Path], None]:
    """A dataset card that names files of the dataset, and others."""

    def plant(folder: Path) -> None:
        (folder / "own.jsonl").write_text('{"text": "own words"}\n')
        named = json.dumps(["own.jsonl", pattern.format(folder.parent)])
        lines = ["---", "configs:", "- config_name: default", f"  data_files: {named}", "---"]
        (folder / "README.md").write_text("\n".join(lines))

    return plant


def linked(folder: Path) -> None:
    (folder / "own.jsonl").symlink_to(folder.parent / "private.jsonl")


def linked_folder(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "own.jsonl").symlink_to("../../private.jsonl")


def state(name: str) -> Callable[[Path], None]:
    """A saved dataset whose state names a file."""

    def plant(folder: Path) -> None:
        datasets.Dataset.from_dict({"text": ["own words"]}).save_to_disk(folder)
        found = json.loads((folder / "state.json").read_text())
        found["_data_files"] = [{"filename": name.format(folder.parent)}]
        (folder / "state.json").write_text(json.dumps(found))

    return plant


def linked_arrow(folder: Path) -> None:
    state("own.arrow")(folder)
    (folder / "own.arrow").symlink_to(folder.parent / "saved" / "data-00000-of-00001.arrow")


def split(name: str) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        names = json.dumps({"splits": [name.format(folder.parent)]})
        (folder / "dataset_dict.json").write_text(names)

    return plant


def linked_split(folder: Path) -> None:
    split("train")(folder)
    (folder / "train").symlink_to(folder.parent / "saved")


STRANGE: dict[str, Callable[[Path], None]] = {
    "a card with a path upwards": card("../private.jsonl"),
    "a card with an absolute path": card("{}/private.jsonl"),
    "a card with a pattern": card("../*.jsonl"),
    "a card with an address of a file": card("file://{}/private.jsonl"),
    "a link to a file": linked,
    "a deeper link to a file": linked_folder,
    "a state with a path upwards": state("../saved/data-00000-of-00001.arrow"),
    "a state with an absolute path": state("{}/saved/data-00000-of-00001.arrow"),
    "a state with a link": linked_arrow,
    "a split upwards": split("../saved"),
    "an absolute split": split("{}/saved"),
    "a linked split": linked_split,
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_dataset_that_names_files_of_others_is_refused_by_their_names(
    folder: Path, what: str
) -> None:
    STRANGE[what](folder)
    with pytest.raises(
        UserError, match=r"datasets:.*theirs names files outside of .*theirs: .*(private|saved|own)"
    ):
        texts(f"datasets:{folder}")


def test_a_dataset_of_its_own_files_is_read(folder: Path) -> None:
    card("own.jsonl")(folder)
    assert texts(f"datasets:{folder}") == ["own words"] * 2
    # What the user names may lie anywhere.
    assert texts(f"datasets:{folder},data_files=../private.jsonl") == ["private words"]


def test_the_layout_of_the_cache_of_the_hub_is_read(folder: Path) -> None:
    """Its snapshots hold links to the files beside them, and to no others."""
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "5f3a"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "17").write_text('{"text": "own words"}\n')
    (snapshot / "a.jsonl").symlink_to("../../blobs/17")
    assert texts(f"datasets:{snapshot}") == ["own words"]
    (snapshot / "b.jsonl").symlink_to("../../../private.jsonl")
    with pytest.raises(UserError, match=r"names files outside of .*b\.jsonl"):
        texts(f"datasets:{snapshot}")


def test_blobs_that_are_a_link_are_none_of_the_dataset(folder: Path) -> None:
    snapshot = folder / "snapshots" / "5f3a"
    snapshot.mkdir(parents=True)
    (folder / "blobs").symlink_to(folder.parent)
    (snapshot / "a.jsonl").symlink_to("../../blobs/private.jsonl")
    with pytest.raises(UserError, match=r"names files outside of"):
        texts(f"datasets:{snapshot}")


def test_a_dataset_of_the_hub_names_no_file_of_this_machine() -> None:
    good = ["hf://datasets/a/b@5f/x.jsonl", "zip://a.txt::hf://datasets/a/b@5f/x.zip"]
    check_data_files(good, None, "datasets:a/b")
    for bad in ("/etc/passwd", "zip://x::/home/me/x.zip", "file:///etc/passwd"):
        with pytest.raises(UserError, match=r"datasets:a/b names files of this machine: "):
            check_data_files([*good, bad], None, "datasets:a/b")
