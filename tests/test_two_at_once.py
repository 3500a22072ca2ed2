"""Two processes that want to write in one folder at once: one of them is refused by name, or both
are right; nothing is lost.
"""

import json
import multiprocessing
import shutil
import subprocess
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import compare
import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.progress import Progress
from ernie_cmtl.corpus.build.request import added_to
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.builds import SETTINGS, sources, tree
from tests.support.corpora import make_corpus, sample_texts, small_config, write_jsonl
from tests.support.runs import Watcher, final_tensors, same_tensors, tiny_settings, trace
from tests.support.suites import small_suite
from tests.support.workers import Worker, started

FORK = multiprocessing.get_context("fork")
TIMES = [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 20))]
REFUSED = ("writes in", "was changed by another process")

times = pytest.mark.parametrize("time_", TIMES)


def slow(_: Progress) -> None:
    time.sleep(0.01)


def _attempt(work: Callable[[], object], start: Barrier, sender: Connection) -> None:
    start.wait()
    try:
        work()
    except UserError as error:
        sender.send(str(error))
    else:
        sender.send("")


def both(*works: Callable[[], object]) -> list[str]:
    """Do things at once, each in a process of its own; return why each was refused, or nothing
    where it was done.
    """
    start = FORK.Barrier(len(works))
    ends: list[tuple[Any, Connection]] = []
    for work in works:
        receiver, sender = FORK.Pipe(duplex=False)
        process = FORK.Process(target=_attempt, args=(work, start, sender))
        process.start()
        sender.close()
        ends.append((process, receiver))
    said = [str(receiver.recv()) for _, receiver in ends]
    for process, _ in ends:
        process.join()
    check(said, [str(process.pid) for process, _ in ends])
    return said


def check(said: list[str], processes: list[str]) -> None:
    """At least one has succeeded, and whoever has not was told who writes there."""
    assert "" in said
    for refusal, other in zip(said, reversed(processes), strict=True):
        assert (
            not refusal
            or f"process {other} on" in refusal
            or REFUSED[1] in refusal
            or "holds a corpus already" in refusal
        )


@times
def test_two_new_corpora_in_one_folder(tmp_path: Path, time_: int) -> None:
    words = sources(tmp_path / "in")
    make_corpus(words, tmp_path / "whole", **SETTINGS)
    make = lambda: make_corpus(words, tmp_path / "corpus", report=slow, **SETTINGS)  # noqa: E731
    both(make, make)
    assert tree(tmp_path / "corpus") == tree(tmp_path / "whole")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    write_jsonl(folder / "first.jsonl", sample_texts("en", 12))
    make_corpus([str(folder / "first.jsonl")], folder / "corpus", layers={}, **SETTINGS)
    return folder / "corpus"


@times
@pytest.mark.parametrize("kind", ["text", "rows"])
def test_two_additions_to_one_corpus(base: Path, tmp_path: Path, kind: str, time_: int) -> None:
    shutil.copytree(base, tmp_path / "corpus")
    texts = sample_texts("en", 20)[12:]

    def add(name: str, own: list[str]) -> object:
        if kind == "text":
            file = write_jsonl(tmp_path / f"{name}.jsonl", own)
            request = added_to(
                [f"{name}={file}"], tmp_path / "corpus", small_config("en", layers={})
            )
        else:
            rows = tmp_path / f"{name}.tsv"
            rows.write_text(
                "text\tlabel\n"
                + "".join(f"{name} text {chr(97 + n)}\t{n % 2}\n" for n in range(20))
            )
            labelled = {name: {"file": str(rows), "columns": {"text": "text", "label": "class"}}}
            request = added_to(
                [], tmp_path / "corpus", small_config("en", layers={}, labelled=labelled)
            )
        return build(request, 1, slow)

    said = both(lambda: add("one", texts[:4]), lambda: add("two", texts[4:]))
    corpus = Corpus(tmp_path / "corpus")
    corpus.verify()
    there = corpus.manifest.sources if kind == "text" else list(corpus.manifest.labelled)
    for name, refusal in zip(("one", "two"), said, strict=True):
        assert (name in there) == (not refusal)
    assert corpus.manifest.documents["used"] == 12 + (4 * said.count("") if kind == "text" else 0)
    # Whoever was refused may come again.
    for name, own, refusal in zip(("one", "two"), (texts[:4], texts[4:]), said, strict=True):
        if refusal:
            add(name, own)
    assert Corpus(tmp_path / "corpus").manifest.documents["used"] == 12 + (
        8 if kind == "text" else 0
    )


@pytest.fixture(scope="module")
def unbroken(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    pretrain(RunConfig.model_validate(tiny_settings(english, run)), Watcher())
    return run


def ends(processes: list[Worker], folders: list[Path]) -> None:
    """Wait for two command lines, of which one may be refused."""
    codes = [process.wait(250) for process in processes]
    assert set(codes) <= {0, 2}
    errors = [" ".join((folder / "worker-0.err").read_text().split()) for folder in folders]
    said = [error if code else "" for code, error in zip(codes, errors, strict=True)]
    assert not any("Traceback" in error for error in errors)
    check(said, [str(process.pid) for process in processes])


@times
@pytest.mark.parametrize("begun", [False, True])
def test_two_trainings_in_one_folder(
    unbroken: Path, english: Corpus, tmp_path: Path, begun: bool, time_: int
) -> None:
    config = RunConfig.model_validate(tiny_settings(english, tmp_path / "run"))
    if begun:
        pretrain(config, Watcher(interrupt_at=5))
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    ends([started(config, folder, 1)[0] for folder in folders], folders)
    assert [row[:2] for row in trace(config.run)] == [row[:2] for row in trace(unbroken)]
    assert same_tensors(final_tensors(config.run), final_tensors(unbroken))
    assert not [
        path for path in config.run.rglob("*") if "partial" in path.name or "damaged" in path.name
    ]
    assert pretrain(config, Watcher())["finished"]


@times
def test_two_exports_to_one_folder(unbroken: Path, tmp_path: Path, time_: int) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    steps = ("8", "12")
    words = ["launch.py", "export", str(unbroken), "--output", str(tmp_path / "model"), "--step"]
    ends(
        [
            Worker([*words, step], {"RANK": "0"}, folder / "worker-0.out")
            for step, folder in zip(steps, folders, strict=True)
        ],
        folders,
    )
    subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "model", check=True
    )
    there = set(tree(tmp_path / "model"))
    assert there == {
        line.split()[1] for line in (tmp_path / "model" / "SHA256SUMS").read_text().splitlines()
    } | {"SHA256SUMS"}
    assert json.loads((tmp_path / "model" / "pretraining.json").read_text())["steps"] in (8, 12)


@times
def test_two_comparisons_in_one_folder(
    english: Corpus, tmp_path: Path, time_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verb(threads: int | None, *words: Any) -> Any:
        time.sleep(0.05)
        return {"consumed": {"knowledge_masking": 1}, "heldout": {}}

    monkeypatch.setattr(compare, "verb", verb)
    words = [
        str(small_suite(tmp_path)),
        "--corpus",
        str(english.folder),
        "--steps",
        "5",
        "--output",
        str(tmp_path / "suite"),
    ]
    run_suite = lambda: compare.compare(compare.read_arguments(words))  # noqa: E731
    both(run_suite, run_suite)
    results = sorted(path.name for path in (tmp_path / "suite" / "results").iterdir())
    assert results == ["both-seed1.json", "plain-seed1.json"]
    assert (tmp_path / "suite" / "table.md").read_text() == compare.compare(
        compare.read_arguments(words)
    )
