"""A name stands for a complete file or for none, and no write or removal follows a link."""

import os
from pathlib import Path

import numpy as np
import pytest

from ernie_cmtl.atomic_files import (
    new_file,
    open_to_append,
    remove_folder,
    write_array,
    write_folder,
    write_text,
)
from ernie_cmtl.errors import UserError

PRIVATE = "years of work"


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "outside" / "private.txt"
    path.parent.mkdir()
    path.write_text(PRIVATE)
    return path


@pytest.mark.parametrize("name", ["file", "file.partial"])
@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_link_is_replaced_and_what_it_leads_to_stays(
    private: Path, tmp_path: Path, name: str, kind: str
) -> None:
    link = tmp_path / name
    (link.symlink_to if kind == "symbolic" else link.hardlink_to)(private)
    write_text(tmp_path / "file", "new")
    write_array(tmp_path / "file", np.arange(3))
    write_text(tmp_path / "file", "newer")
    assert (tmp_path / "file").read_text() == "newer"
    assert not (tmp_path / "file").is_symlink()
    assert private.read_text() == PRIVATE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "outside"]


def test_a_partial_file_that_appears_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial, unlink = tmp_path / "file.partial", Path.unlink

    def planted(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if not partial.exists():
            partial.symlink_to("/dev/null")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", planted)
        with pytest.raises(FileExistsError):
            write_text(tmp_path / "file", "new")


def test_a_write_that_fails_leaves_the_older_file_and_takes_no_room(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")

    def write() -> None:
        with new_file(tmp_path / "file") as stream:
            stream.write(b"new")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write()
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_log_that_is_a_link_is_not_appended_to(private: Path, tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(private)
    with pytest.raises(OSError, match="symbolic link"):
        open_to_append(tmp_path / "log")
    with open_to_append(tmp_path / "other") as stream:
        stream.write(b"1")
    with open_to_append(tmp_path / "other") as stream:
        stream.write(b"2")
    assert (tmp_path / "other").read_bytes() == b"12"
    assert private.read_text() == PRIVATE


def test_new_files_have_the_rights_that_the_user_gives_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_a_link_is_not_removed_and_links_in_one_are_only_unlinked(
    private: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(private.parent)
    with pytest.raises(UserError, match=r"link is a symbolic link to .*outside"):
        remove_folder(tmp_path / "link")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(private.parent)
    remove_folder(tmp_path / "folder")
    remove_folder(tmp_path / "folder")
    assert private.read_text() == PRIVATE
    with pytest.raises(UserError, match="is no folder"):
        remove_folder(private)


def test_a_folder_is_made_in_place_of_what_a_broken_one_left_but_not_through_a_link(
    private: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.partial").mkdir()
    (tmp_path / "folder.partial" / "left").write_text("over")
    write_folder(tmp_path / "folder", lambda path: (path / "file").write_text("new"))
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]
    (tmp_path / "other.partial").symlink_to(private.parent)
    with pytest.raises(UserError, match="symbolic link"):
        write_folder(tmp_path / "other", lambda path: None)
    assert private.read_text() == PRIVATE
