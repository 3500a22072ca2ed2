"""The wheel in an empty folder, without the checkout: version, configuration, sample, corpus, run,
report, export.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
VERBS = """
import json, sys
import ernie_cmtl, pretrain_tasks
from ernie_cmtl.cli.app import app
print(json.dumps(ernie_cmtl.__file__))
for words in json.loads(sys.argv[1]):
    if code := app([*words, "--json"], standalone_mode=False):
        sys.exit(code)
"""
"""Verbs one after the other in one process, which loads torch once."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, so that nothing is built in the checkout.
    source = folder / "source"
    for name in ("ernie_cmtl", "pretrain_tasks", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # With the setuptools of the environment, so that no network is needed.
    built = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*built, str(source)], check=True, cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


def install(wheel: Path, where: str, folder: Path) -> Path:
    """Install a wheel without its dependencies, and return the folder of its packages."""
    words = ["install", "--no-deps", "--no-compile", where, str(folder), str(wheel)]
    subprocess.run([*PIP, *words], check=True)
    (package,) = folder.rglob("ernie_cmtl/__init__.py")
    return package.parents[1]


def python(site: Path, folder: Path, *words: str) -> list[str]:
    """Run Python in a folder with the packages of the wheel; return the lines that it prints."""
    done = subprocess.run(
        # -P: the folder that it runs in is no place of modules.
        [sys.executable, "-P", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_configurations_are_found_where_pip_records_another_place(
    wheel: Path, tmp_path: Path
) -> None:
    site = install(wheel, "--target", tmp_path / "site")
    code = "from ernie_cmtl.shipped_configs import shipped_configs as s; print(len(s()))"
    (count,) = python(site, tmp_path, "-c", code)
    assert int(count) == len(list((ROOT / "configs").rglob("*.yaml")))


def test_a_wheel_alone_takes_text_to_a_model(wheel: Path, tmp_path: Path) -> None:
    site = install(wheel, "--prefix", tmp_path / "prefix")
    (version,) = python(site, tmp_path, "-m", "ernie_cmtl", "--version")
    assert version.startswith("ernie-cmtl 0.")
    python(site, tmp_path, "-m", "ernie_cmtl.corpus.sample", "--output", "text/sample.jsonl")
    small = ["encoder.layers=1", "encoder.hidden_size=32", "data.rows=32", "data.rows_per_group=32"]
    verbs = [
        ["init", "copied.yaml", "--from", "quickstart"],
        [
            *("prepare", "--input", "text", "--output", "corpus", "--language", "en"),
            *("--vocabulary-size", "500", "--processes", "1"),
        ],
        ["init", "mine.yaml", "--corpus", "corpus", "--tokens", "163840", "--run", "run"],
        ["pretrain", "mine.yaml", *small, "training.heldout.samples=8"],
        ["export", "run", "--output", "model"],
        ["report", "run", "--output", "report.html"],
    ]
    lines = python(site, tmp_path, "-c", VERBS, json.dumps(verbs))
    place, copied, prepared, made, trained, exported, reported = map(json.loads, lines)
    assert place.startswith(str(site))
    assert (copied["path"], made["path"]) == ("copied.yaml", "mine.yaml")
    assert prepared["documents"]["used"] > 50
    assert trained["finished"]
    assert exported["path"] == "model"
    assert reported["charts"] > 4
