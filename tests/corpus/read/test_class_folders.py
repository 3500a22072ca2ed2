"""Folders of class folders, such as those of IMDb, as labelled rows."""

import gzip
from pathlib import Path

import pytest

from ernie_cmtl.corpus.read.class_folders import folder_stamp
from ernie_cmtl.corpus.read.labelled_rows import labelled_rows
from ernie_cmtl.errors import UserError
from tests.support.labelled_rows import write_class_folders

TWO = {"neg": ["dull", "cold"], "pos": ["fine"]}


def test_a_text_is_a_file_and_its_class_the_name_of_the_folder(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "train", TWO)
    # What IMDb has beside its class folders, and the reviews that nobody judged.
    (folder / "urls_pos.txt").write_text("http://example.org/\n")
    (folder / "labeledBow.feat").write_text("1 0:3\n")
    write_class_folders(folder, {"unsup": ["no label"]})
    (folder / "neg" / ".hidden.txt").write_text("not this")
    (folder / "pos" / "1_9.txt.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfpacked"))
    assert [row for _, row in labelled_rows(folder, None)] == [
        {"text": "dull", "label": "neg"},
        {"text": "cold", "label": "neg"},
        {"text": "fine", "label": "pos"},
        {"text": "packed", "label": "pos"},
    ]
    assert [row for _, row in labelled_rows(folder, ["label"])][-1] == {"label": "pos"}
    indirect = folder / ".." / "train"
    assert list(labelled_rows(indirect, None)) == list(labelled_rows(folder, None))


def test_links_to_folders_are_passed_over_as_where_a_folder_is_an_input(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "train", TWO)
    other = write_class_folders(tmp_path / "other", {"third": ["elsewhere"]})
    (folder / "third").symlink_to(other / "third")
    assert {row["label"] for _, row in labelled_rows(folder, None)} == {"neg", "pos"}


def test_the_stamp_of_a_folder_changes_with_any_of_its_files(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "train", TWO)
    stamps = [folder_stamp(folder)]
    (folder / "pos" / "0_0.txt").write_text("good")
    stamps.append(folder_stamp(folder))
    (folder / "pos" / "7_7.txt").write_text("more")
    stamps.append(folder_stamp(folder))
    assert len({*stamps}) == 3
    assert stamps[-1] == folder_stamp(folder)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, r"no text in folder .*train: it holds no file ending in \.txt"),
        ({"pos": ["fine"]}, "has one class folder, pos; a table of classes needs two or more"),
        ({"unsup": ["fine"]}, "has no class folder"),
        (
            {"train/pos": ["fine"], "train/neg": ["dull"], "test/pos": ["warm"]},
            r"test/pos/0_0\.txt lies in a folder inside of test; name the folder whose folders are "
            r"the classes, such as .*train/test",
        ),
    ],
)
def test_folders_that_are_no_classes_are_refused(
    tmp_path: Path, texts: dict[str, list[str]], message: str
) -> None:
    (tmp_path / "train").mkdir()
    write_class_folders(tmp_path / "train", texts)
    with pytest.raises(UserError, match=message):
        list(labelled_rows(tmp_path / "train", None))


def test_a_file_that_is_not_utf_8_is_named_with_its_encoding(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "train", TWO)
    (folder / "pos" / "0_0.txt").write_bytes("Das Café war schön. ".encode("cp1252") * 40)
    with pytest.raises(UserError, match=r"pos/0_0\.txt: byte 7 of the file is no UTF-8; .*iconv"):
        list(labelled_rows(folder, None))


def test_a_damaged_file_and_an_unknown_column_are_named(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "train", TWO)
    with pytest.raises(UserError, match=r"no column 'review'; its columns: text, label"):
        list(labelled_rows(folder, ["review"]))
    (folder / "pos" / "1.txt.gz").write_bytes(gzip.compress(b"text" * 100)[:-9])
    with pytest.raises(UserError, match=r"pos/1\.txt\.gz is damaged"):
        list(labelled_rows(folder, None))


def test_an_unknown_ending_is_refused_with_those_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_text("x")
    with pytest.raises(UserError, match=r"rows\.xlsx as labelled rows.*\.tsv.*\.conll.*folder"):
        list(labelled_rows(tmp_path / "rows.xlsx", None))
