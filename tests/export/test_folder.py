"""The folder of an export: what an export wrote is replaced, and nothing else is."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from ernie_cmtl.errors import UserError
from ernie_cmtl.export.folder import export_folder
from tests.support.builds import tree

FIRST = {
    "config.json": "one",
    "model.safetensors": "one",
    "1_Pooling/config.json": "one",
    "old.txt": "one",
}
SECOND = {
    "config.json": "two",
    "model.safetensors": "two",
    "1_Pooling/config.json": "two",
    "new.txt": "two",
}


def export(output: Path, files: Mapping[str, str]) -> None:
    with export_folder(output) as folder:
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)


def exported(output: Path) -> dict[str, str]:
    """What is there beside the list, and what a broken lock has left."""
    return {
        name: data.decode()
        for name, data in tree(output).items()
        if name != "SHA256SUMS" and not name.startswith(".lock")
    }


def test_an_export_replaces_what_the_one_before_wrote_and_keeps_the_rest(tmp_path: Path) -> None:
    export(tmp_path / "model", FIRST)
    assert exported(tmp_path / "model") == FIRST
    (tmp_path / "model" / "notes.md").write_text("a person's")
    export(tmp_path / "model", SECOND)
    assert exported(tmp_path / "model") == SECOND | {"notes.md": "a person's"}
    subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "model", check=True
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "was changed since it was exported"),
        ("1_Pooling/config.json", "was changed since it was exported"),
        ("new.txt", "was not written by an export"),
    ],
)
def test_a_file_of_a_persons_is_refused_by_name_and_all_stays(
    tmp_path: Path, name: str, message: str
) -> None:
    export(tmp_path / "model", FIRST)
    (tmp_path / "model" / name).write_text("a person's")
    before = tree(tmp_path)
    with pytest.raises(UserError, match=rf"{name} {message}"):
        export(tmp_path / "model", SECOND)
    assert tree(tmp_path) == before


def test_a_file_that_is_changed_while_the_export_is_made_is_not_replaced(tmp_path: Path) -> None:
    export(tmp_path / "model", FIRST)

    def slow_export() -> None:
        with export_folder(tmp_path / "model") as folder:
            (folder / "config.json").write_text("two")
            (tmp_path / "model" / "config.json").write_text("a person's")

    with pytest.raises(UserError, match="was changed"):
        slow_export()
    assert exported(tmp_path / "model") == FIRST | {"config.json": "a person's"}


def test_a_file_that_a_person_removed_is_no_obstacle(tmp_path: Path) -> None:
    export(tmp_path / "model", FIRST)
    (tmp_path / "model" / "old.txt").unlink()
    export(tmp_path / "model", SECOND)
    assert exported(tmp_path / "model") == SECOND


def test_an_export_that_fails_leaves_a_new_folder_unmade_and_an_old_one_as_it_was(
    tmp_path: Path,
) -> None:
    def fail(output: Path) -> None:
        with export_folder(output) as folder:
            (folder / "config.json").write_text("two")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    export(tmp_path / "model", FIRST)
    before = tree(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "model")
    assert tree(tmp_path) == before


def test_an_export_that_is_broken_off_at_any_moment_is_replaced_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, unlink, left = Path.rename, Path.unlink, 0

    def count() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt

    def broken_off(output: Path, calls: int) -> bool:
        nonlocal left
        left = calls
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", lambda path, target: (count(), rename(path, target))[1])
            patch.setattr(
                Path,
                "unlink",
                lambda path, missing_ok=False: (count(), unlink(path, missing_ok))[1],
            )
            try:
                export(output, SECOND)
            except KeyboardInterrupt:
                return True
        return False

    calls = 1
    while True:
        output = tmp_path / str(calls)
        export(output, FIRST)
        if not broken_off(output, calls):
            break
        # A model that programs can load is there whole or not at all.
        assert "config.json" not in exported(output) or exported(output) in (FIRST, SECOND)
        export(output, SECOND)
        assert exported(output) == SECOND
        calls += 1
    assert calls > 2 * len(FIRST)


@pytest.mark.parametrize(
    "line",
    ["", "no list", f"{'0' * 64}  ../private.txt", f"{'0' * 64}  /etc/passwd", f"{'0' * 64}  "],
)
def test_a_list_that_leads_elsewhere_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "private.txt").write_text("years of work")
    export(tmp_path / "model", FIRST)
    with (tmp_path / "model" / "SHA256SUMS").open("a") as stream:
        stream.write(line + "\n")
    before = tree(tmp_path)
    with pytest.raises(UserError, match="SHA256SUMS is no list"):
        export(tmp_path / "model", SECOND)
    assert tree(tmp_path) == before


def test_an_older_export_without_a_list_is_refused(tmp_path: Path) -> None:
    export(tmp_path / "model", FIRST)
    (tmp_path / "model" / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="it has no SHA256SUMS"):
        export(tmp_path / "model", SECOND)
    assert exported(tmp_path / "model") == FIRST
