"""The wheel in an empty folder, without the checkout: all that the tutorial does, from the sample
text to a classifier.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ernie_cmtl

ROOT = Path(__file__).parents[1]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


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


def test_a_wheel_alone_does_what_the_tutorial_says(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("altair")
    site = install(wheel, "--prefix", tmp_path / "prefix")
    (version,) = python(site, tmp_path, "-m", "ernie_cmtl", "--version")
    assert version == f"ernie-cmtl {ernie_cmtl.__version__}"
    place = "import ernie_cmtl, pretrain_tasks; print(ernie_cmtl.__file__)"
    assert python(site, tmp_path, "-c", place)[0].startswith(str(site))
    page, shorter = ROOT / "docs/tutorial.md", "--tokens 600000=--tokens 170000"
    shown = python(site, tmp_path, str(ROOT / "tests/support/run_page.py"), str(page), shorter)
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 48
    assert {answer["label"] for answer in answers} <= {"question", "statement"}
    kept = json.loads((tmp_path / "classifier/finetuning.json").read_text())
    assert kept["kept"]["dev"]["accuracy"] > 0.5
    assert re.search(r"'label': '(question|statement)'", "\n".join(shown))
    for name in ("report.html", "classifier.html"):
        assert (tmp_path / name).stat().st_size > 500_000
