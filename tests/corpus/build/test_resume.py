"""A build that was broken off goes on: the same bytes, whatever killed it and whenever; and it
mixes with nothing else.
"""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from ernie_cmtl.corpus.build import shards
from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.request import added_to
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from tests.support.builds import SETTINGS, break_off, sources, tree
from tests.support.corpora import make_corpus, quiet, sample_texts, write_jsonl

ROOT = Path(__file__).parents[3]


def corpus_tree(folder: Path) -> dict[str, bytes]:
    """Without the notes of the build, which a kill after the manifest leaves."""
    return {
        name: content for name, content in tree(folder).items() if not name.startswith("building/")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path, dict[str, Any]]:
    """The inputs, a corpus that was built of them without a break, and what prepare said."""
    folder = tmp_path_factory.mktemp("whole")
    words = sources(folder / "in")
    result = make_corpus(words, folder / "corpus", **SETTINGS)
    assert len(Corpus(folder / "corpus").manifest.shards) > 8
    return words, folder / "corpus", result


def in_a_process(words: list[str], output: Path) -> None:
    slow = lambda progress: time.sleep(0.01)  # noqa: E731
    make_corpus(words, output, report=slow, **SETTINGS)


def kill_after(seconds: float, words: list[str], output: Path) -> bool:
    """Build in a process of its own and kill it; tell whether it was still at work."""
    process = multiprocessing.get_context("fork").Process(target=in_a_process, args=(words, output))
    process.start()
    assert process.pid is not None
    process.join(seconds)
    running = process.is_alive()
    if running:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == (-signal.SIGKILL if running else 0)
    return running


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_killed_at_ten_random_moments_a_build_ends_with_the_same_bytes(
    whole: Any, tmp_path: Path, seed: int
) -> None:
    words, corpus, result = whole
    rng = np.random.default_rng(seed)
    start = time.perf_counter()
    assert not kill_after(120, words, tmp_path / "timed")
    duration = time.perf_counter() - start
    kills, builds = 0, 0
    output = tmp_path / "corpus-0"
    while kills < 10:
        if (output / "manifest.json").exists():
            # It was done with fewer kills: one more build takes the rest of them.
            assert corpus_tree(output) == tree(corpus)
            builds += 1
            output = tmp_path / f"corpus-{builds}"
        kills += kill_after(float(rng.uniform(0.02, 0.2)) * duration, words, output)
    if not (output / "manifest.json").exists():
        again = make_corpus(words, output, **SETTINGS)
        assert again["fingerprint"] == result["fingerprint"]
    assert corpus_tree(output) == tree(corpus)


def test_a_killed_build_leaves_no_process(tmp_path: Path) -> None:
    # Many seconds of work, so that it is not done before it is killed.
    texts = write_jsonl(
        tmp_path / "many.jsonl",
        [f"{number} {text}" for number in range(200) for text in sample_texts("en")],
    )
    command = [
        sys.executable,
        "launch.py",
        "prepare",
        "--input",
        texts,
        "--output",
        tmp_path / "corpus",
        "--language",
        "en",
    ]
    build = psutil.Popen([*command, "--processes", "2"], cwd=ROOT, stderr=subprocess.DEVNULL)
    # Two that annotate, the one that they are forked from, and Python's own that tracks resources.
    while len(processes := build.children(recursive=True)) < 4:
        assert build.poll() is None, "it was done too soon"
        time.sleep(0.01)
    build.kill()
    build.wait()
    assert not psutil.wait_procs(processes, timeout=20)[1]


def test_what_a_kill_after_the_last_step_leaves_is_cleared_by_the_next_build(
    whole: Any, tmp_path: Path
) -> None:
    _, corpus, _ = whole
    output = tmp_path / "corpus"
    shutil.copytree(corpus, output)
    (output / "building").mkdir()
    (output / "building" / "request.json").write_text(json.dumps({"fingerprint": None}))
    more = write_jsonl(tmp_path / "more.jsonl", sample_texts("en", 26)[24:])
    build(added_to([f"more={more}"], output, PrepareConfig()), 1, quiet)
    assert Corpus(output).manifest.count("documents", None, "more") == 2
    assert not (output / "building").exists()


def test_no_finished_shard_is_made_again(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, corpus, _ = whole
    output = tmp_path / "corpus"
    break_off(words, output, monkeypatch)
    finished = {
        path: path.stat().st_ino
        for path in (output / "shards").rglob("*.npy")
        if ".partial" not in str(path)
    }
    assert len({path.parent for path in finished}) >= 2
    with pytest.raises(
        UserError,
        match=r"no corpus at .*; a build was begun there: finish it with the same command",
    ):
        Corpus(output)
    written: list[str] = []
    write = shards.write_shard
    monkeypatch.setattr(
        "ernie_cmtl.corpus.build.new_shards.write_shard",
        lambda *a: (written.append(a[1].name), write(*a)),
    )
    make_corpus(words, output, **SETTINGS)
    assert {path: path.stat().st_ino for path in finished} == finished
    assert len(written) == len(Corpus(corpus).manifest.shards) - len(
        {path.parent for path in finished}
    )
    assert tree(output) == tree(corpus)


def test_another_request_is_refused_until_the_build_is_given_up(
    whole: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    words, corpus, result = whole
    output = tmp_path / "corpus"
    break_off(words, output, monkeypatch, heldout_minimum=3)
    before = tree(output)
    for change, named in [
        ({}, "heldout_minimum"),
        ({"heldout_minimum": 3, "shard_bytes": 9000}, "shard_bytes"),
    ]:
        with pytest.raises(
            UserError, match=rf"unfinished build with other settings\.{named} \(.*--restart"
        ):
            make_corpus(words, output, **(SETTINGS | change))
    with pytest.raises(UserError, match=r"other inputs \(.*first.jsonl\)"):
        make_corpus(words[:1], output, **(SETTINGS | {"heldout_minimum": 3}))
    assert tree(output) == before
    assert (
        make_corpus(words, output, restart=True, **SETTINGS)["fingerprint"] == result["fingerprint"]
    )
    assert tree(output) == tree(corpus)


def test_text_that_changed_since_the_build_began_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = sources(tmp_path / "in")
    break_off(words, tmp_path / "corpus", monkeypatch)
    with (tmp_path / "in" / "second.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"text": "one more"}\n')
    with pytest.raises(UserError, match=r"other inputs \(.*second.jsonl\).*--restart"):
        make_corpus(words, tmp_path / "corpus", **SETTINGS)


def test_a_mistake_before_the_first_shard_leaves_nothing_to_give_up(
    whole: Any, tmp_path: Path
) -> None:
    words, corpus, _ = whole
    with pytest.raises(UserError, match="no usable document"):
        make_corpus(words, tmp_path / "corpus", reader={"text_field": "body"}, **SETTINGS)
    make_corpus(words, tmp_path / "corpus", report=quiet, **SETTINGS)
    assert tree(tmp_path / "corpus") == tree(corpus)


@pytest.mark.parametrize("which", ["labelled", "gazetteer"])
def test_a_labelled_file_or_a_list_that_changed_since_the_build_began_is_noticed(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    words, _, _ = whole
    rows, names = tmp_path / "rows.tsv", tmp_path / "names.txt"
    rows.write_text("text\tlabel\n" + "".join(f"text {chr(97 + n)}\t{n % 2}\n" for n in range(20)))
    names.write_text("the statement\n")
    settings: dict[str, Any] = {
        "labelled": {"rows": {"file": str(rows), "columns": {"text": "text", "label": "class"}}},
        "layers": {"gazetteer": {"files": [str(names)]}},
    }
    break_off(words, tmp_path / "corpus", monkeypatch, **settings)
    with (rows if which == "labelled" else names).open("a") as stream:
        stream.write("another\t1\n")
    with pytest.raises(UserError, match=r"unfinished build with other .*--restart"):
        make_corpus(words, tmp_path / "corpus", **(SETTINGS | settings))
