"""The quickstart keeps what was trained: a folder for each text, and no target removes runs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"


def commands(folder: Path, *words: str) -> str:
    """Return what make would run."""
    shutil.copy(MAKEFILE, folder)
    (folder / "pyproject.toml").touch()
    done = subprocess.run(
        ["make", "--dry-run", *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def run_folder(said: str) -> str:
    return re.findall(r"corpus=(\S+)/corpus", said)[0]


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_each_text_of_the_quickstart_has_a_folder_of_its_own(tmp_path: Path) -> None:
    calls: list[tuple[str, ...]] = [
        (),
        ("LANGUAGE=zh",),
        ("DATA=text",),
        ("DATA=../text",),
        ("DATA=a/b",),
        ("DATA=a-b",),
        ("DATA=text/*.jsonl",),
        ("DATA=datasets:a/b,split=train",),
        ("DATA=text", "LANGUAGE=zh"),
    ]
    said = [commands(tmp_path, "quickstart", *words) for words in calls]
    assert len({run_folder(text) for text in said}) == len(calls)
    assert run_folder(said[0]) == "runs/quickstart"


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_a_corpus_that_is_there_is_not_prepared_again(tmp_path: Path) -> None:
    corpus = tmp_path / "runs" / "quickstart" / "corpus"
    corpus.mkdir(parents=True)
    (corpus / "manifest.json").touch()
    said = commands(tmp_path, "quickstart")
    assert "launch.py prepare" not in said
    assert "launch.py pretrain" in said


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize("target", ["quickstart", "clean", "test", "gpu"])
def test_nothing_removes_runs(tmp_path: Path, target: str) -> None:
    removed = re.findall(r"rm .*", commands(tmp_path, target))
    assert not [line for line in removed if "runs" in line]
