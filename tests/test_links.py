"""A corpus, run, export or suite that somebody else made: a link at any place that its format names
leads no write, removal or copy out of the folder, and whichever verb meets it says so by name.
"""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import compare
import pytest

from ernie_cmtl.atomic_files import PARTIAL
from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.request import added_to
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.store.manifest import PARTS as CORPUS_PARTS
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.run.open import read_config
from ernie_cmtl.sole_writer import HOLDER, LOCK
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.extend import Extension, extended_config
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.builds import break_off, sources
from tests.support.corpora import (
    build_corpus,
    make_corpus,
    quiet,
    sample_texts,
    small_config,
    write_jsonl,
)
from tests.support.runs import tiny_settings
from tests.support.suites import small_suite

RUN_PARTS = RunFolder(Path()).parts
BUILDING = (
    "building",
    *(f"building/{name}" for name in ("request.json", "scan.json", "seen.sqlite")),
)
ROWS = "text\tlabel\n" + "".join(f"text {chr(97 + n)}\t{n % 2}\n" for n in range(20))


def places(folder: Path, parts: Iterable[str], more: Iterable[str] = ()) -> list[str]:
    """Every place that a format names: all that stands there, the names that each has until it is
    complete, and some more.
    """
    there = [
        str(path.relative_to(folder))
        for part in parts
        for path in sorted({folder / part, *(folder / part).rglob("*")})
    ]
    named = [
        *there,
        *(name + PARTIAL for name in there if PARTIAL not in name),
        *more,
        LOCK,
        HOLDER,
    ]
    return list(dict.fromkeys(named))


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """All that stands in a folder; a file that was written anew has another time or number."""
    found = {str(path.relative_to(folder)): path.lstat() for path in sorted(folder.rglob("*"))}
    return {
        name: (status.st_size, status.st_mtime_ns, status.st_ino) for name, status in found.items()
    }


def plant(place: Path, outside: Path) -> bool:
    """Move what is at a place, or a copy of what will be, out of the folder and leave a link to it;
    was it moved?
    """
    shutil.rmtree(outside, ignore_errors=True)
    outside.mkdir()
    target = outside / "target"
    original = place.with_name(place.name.removesuffix(PARTIAL) or PARTIAL)
    moved = place.exists()
    if moved:
        place.rename(target)
    elif original.is_dir():
        shutil.copytree(original, target)
    else:
        target.write_text("years of work")
    (outside / "private.txt").write_text("years of work")
    place.parent.mkdir(exist_ok=True, parents=True)
    place.symlink_to(target)
    return moved


def check_all(folder: Path, named: list[str], work: Path, verb: Callable[[Path], object]) -> None:
    """Plant a link at one place after the other; a verb must refuse each by name, and change
    nothing in and out of the folder.
    """
    let_through = []
    copy, outside = work / "copy", work / "outside"
    shutil.copytree(folder, copy, symlinks=True)
    for name in named:
        moved = plant(copy / name, outside)
        before, inside = snapshot(outside), snapshot(copy)
        try:
            verb(copy)
        except UserError as error:
            if f"{copy / name} is a symbolic link to {outside / 'target'}" not in str(error):
                let_through.append((name, str(error)))
        else:
            let_through.append((name, "was followed"))
        assert snapshot(outside) == before, name
        # The time of the folder itself is that of its lock.
        assert snapshot(copy) == inside, name
        (copy / name).unlink()
        if moved:
            (outside / "target").rename(copy / name)
    assert not let_through
    assert len(named) > 3
    shutil.rmtree(copy)


# Corpora


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus with labelled rows, fitted layers and two shards."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "rows.tsv").write_text(ROWS)
    labelled = {
        "rows": {"file": str(folder / "rows.tsv"), "columns": {"text": "text", "label": "class"}}
    }
    build_corpus(folder, sample_texts("en", 12), labelled=labelled, shard_bytes=40_000)
    assert len(Corpus(folder / "corpus").manifest.shards) > 1
    return folder


def adding_text(corpus: Path, folder: Path) -> object:
    more = write_jsonl(folder / "more.jsonl", sample_texts("en", 14)[12:])
    return build(added_to([str(more)], corpus, small_config("en", layers={})), 1, quiet)


def adding_rows(corpus: Path, folder: Path) -> object:
    (folder / "others.tsv").write_text(ROWS)
    labelled = {
        "others": {
            "file": str(folder / "others.tsv"),
            "columns": {"text": "text", "label": "class"},
        }
    }
    return build(added_to([], corpus, small_config("en", layers={}, labelled=labelled)), 1, quiet)


def adding_a_layer(corpus: Path, folder: Path) -> object:
    (folder / "names.txt").write_text("the statement\n")
    layers = {"gazetteer": {"files": [str(folder / "names.txt")]}}
    return build(added_to([], corpus, small_config("en", layers=layers)), 1, quiet)


@pytest.mark.parametrize(
    "add",
    [
        adding_text,
        *(pytest.param(add, marks=pytest.mark.slow) for add in (adding_rows, adding_a_layer)),
    ],
)
def test_nothing_is_added_to_a_corpus_through_links(
    corpus: Path,
    tmp_path: Path,
    add: Callable[[Path, Path], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whatever is found, it must be found before anything else is done.
    monkeypatch.setattr(
        "ernie_cmtl.corpus.build.pipeline.Corpus.verify", lambda _: pytest.fail("went on")
    )
    later = [
        *BUILDING,
        "fitted/gazetteer",
        "labelled/others",
        "shards/00002",
        f"shards/00002{PARTIAL}",
    ]
    named = places(corpus / "corpus", CORPUS_PARTS, [*later, "shards/00000/gazetteer.npy"])
    assert len(named) > 100
    check_all(corpus / "corpus", named, tmp_path, lambda copy: add(copy, tmp_path))
    monkeypatch.undo()
    shutil.copytree(corpus / "corpus", tmp_path / "intact")
    add(tmp_path / "intact", tmp_path)


@pytest.mark.parametrize("restart", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_build_does_not_go_on_through_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: bool
) -> None:
    words = sources(tmp_path / "in")
    break_off(words, tmp_path / "begun", monkeypatch)
    named = places(tmp_path / "begun", CORPUS_PARTS)
    assert {*BUILDING, "tokenizer", "shards/00000/token_ids.npy"} <= {*named}
    # With a manifest, whatever it leads to, the folder holds a corpus and no build.
    named.remove("manifest.json")
    check_all(
        tmp_path / "begun",
        named,
        tmp_path,
        lambda copy: make_corpus(words, copy, shard_bytes=5000, restart=restart),
    )


@pytest.mark.parametrize("name", CORPUS_PARTS)
def test_a_new_corpus_is_not_built_among_links(tmp_path: Path, name: str) -> None:
    text = write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 8))
    (tmp_path / "copy").mkdir()
    plant(tmp_path / "copy" / name, tmp_path / "outside")
    before = snapshot(tmp_path / "outside")
    with pytest.raises(UserError):
        make_corpus([str(text)], tmp_path / "copy")
    assert snapshot(tmp_path / "outside") == before
    assert (tmp_path / "copy" / name).is_symlink()


def test_what_a_record_of_a_build_names_is_removed_only_inside(
    tmp_path: Path, corpus: Path
) -> None:
    shutil.copytree(corpus / "corpus", tmp_path / "corpus")
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "mine.npy").write_text("years of work")
    for parent in ("fitted", "labelled", "shards"):
        (tmp_path / "corpus" / parent / "mine").mkdir()
        (tmp_path / "corpus" / parent / "mine" / "notes.txt").write_text("years of work")
    before = snapshot(tmp_path / "victim")
    (tmp_path / "corpus" / "building").mkdir()
    away = ["../../victim", str(tmp_path / "victim"), "../../victim/mine", "..", "."]
    record = {"layers": dict.fromkeys(away), "settings": {"labelled": dict.fromkeys(away)}}
    (tmp_path / "corpus" / "building" / "request.json").write_text(json.dumps(record))
    adding_text(tmp_path / "corpus", tmp_path)
    assert snapshot(tmp_path / "victim") == before
    for parent in ("fitted", "labelled", "shards"):
        assert (tmp_path / "corpus" / parent / "mine" / "notes.txt").read_text() == "years of work"


@pytest.mark.parametrize("content", [None, "plan.txt", "request.json"])
def test_a_folder_with_a_folder_named_building_is_no_build(
    tmp_path: Path, content: str | None
) -> None:
    """Somebody's architecture: nothing of it is ours to clear."""
    text = write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 8))
    house = tmp_path / "house"
    (house / "building").mkdir(parents=True)
    for name in ("tokenizer", "shards", "fitted"):
        (house / name).mkdir()
        (house / name / "plan.txt").write_text("years of work")
    if content:
        (house / "building" / content).write_text("{}")
    before = snapshot(house)
    for restart in (False, True):
        with pytest.raises(UserError, match="house is not empty and no build of a corpus"):
            make_corpus([str(text)], house, restart=restart)
    assert snapshot(house) == before


# Runs


@pytest.fixture(scope="module")
def run(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with all that a run folder can hold."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    settings = tiny_settings(english, folder)
    settings["stages"] = [{"name": "only", "budgets": {"knowledge_masking": 4}}]
    settings["training"] |= {"trackers": ["tensorboard"], "checkpoints": {"every": 2}}
    pretrain(RunConfig.model_validate(settings), Observer())
    (folder / "tracker_id").write_text("1")
    export_run(folder, folder / "export", None)
    return folder


CHECKPOINTS = [
    f"checkpoints/{name}"
    for name in (".partial-step-6", ".removed-step-2", "damaged-step-4", "step-6")
]


def going_on(copy: Path) -> object:
    return pretrain(read_config(copy / "config.yaml"), Observer())


def extending(copy: Path) -> object:
    return pretrain(extended_config(copy, Extension("sentence_order", budget=1)), Observer())


@pytest.mark.parametrize("train", [pytest.param(going_on, marks=pytest.mark.slow), extending])
def test_a_run_is_not_trained_through_links(
    run: Path, tmp_path: Path, train: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ernie_cmtl.run.session.pass_over_damaged", lambda *_: pytest.fail("went on")
    )
    named = places(run, RUN_PARTS, CHECKPOINTS)
    assert {*RUN_PARTS, "checkpoints/step-4/model.safetensors", "export/model.safetensors"} <= {
        *named
    }
    check_all(run, [*named, "wandb"], tmp_path, train)


def test_a_new_run_is_not_begun_among_links(run: Path, english: Corpus, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = RunConfig.model_validate(tiny_settings(english, tmp_path / "copy"))
    named = [name + ending for name in RUN_PARTS for ending in ("", PARTIAL)]
    check_all(tmp_path / "empty", named, tmp_path, lambda copy: pretrain(config, Observer()))


# Exports


def test_a_run_is_not_exported_through_links(run: Path, tmp_path: Path) -> None:
    export = run / "export"
    named = places(export, sorted(path.name for path in export.iterdir()))
    # A file that has its name only once it is complete is made in a folder of its own.
    named = [name for name in named if not name.endswith(PARTIAL) or name == f"SHA256SUMS{PARTIAL}"]
    assert {"model.safetensors", "config.json", "SHA256SUMS", "README.md"} <= {*named}
    check_all(export, [*named, PARTIAL], tmp_path, lambda copy: export_run(run, copy, None))


def test_an_export_does_not_follow_a_link_that_no_export_wrote(run: Path, tmp_path: Path) -> None:
    """As a person's own, of the name of a new file."""
    shutil.copytree(run / "export", tmp_path / "copy")
    sums = tmp_path / "copy" / "SHA256SUMS"
    sums.write_text(
        "".join(line for line in sums.read_text().splitlines(keepends=True) if "README" not in line)
    )
    plant(tmp_path / "copy" / "README.md", tmp_path / "outside")
    before = snapshot(tmp_path / "outside")
    with pytest.raises(UserError, match=r"README\.md was not written by an export"):
        export_run(run, tmp_path / "copy", None)
    (tmp_path / "outside" / "target").unlink()
    with pytest.raises(UserError, match=r"README\.md was not written by an export"):
        export_run(run, tmp_path / "copy", None)
    assert snapshot(tmp_path / "outside").keys() == before.keys() - {"target"}


# Suites


def test_a_suite_is_not_compared_through_links(
    english: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verb(threads: int | None, *words: Any) -> Any:
        return {"consumed": {"knowledge_masking": 1}, "heldout": {}}

    monkeypatch.setattr(compare, "verb", verb)
    words = [str(small_suite(tmp_path)), "--corpus", str(english.folder), "--steps", "5"]

    def run_suite(output: Path) -> object:
        return compare.compare(compare.read_arguments([*words, "--output", str(output)]))

    run_suite(tmp_path / "suite")
    named = places(tmp_path / "suite", ("configs", "results", "table.md"), ["runs"])
    assert {"results/plain-seed1.json", "configs/both-seed1.yaml", f"table.md{PARTIAL}"} <= {*named}
    check_all(tmp_path / "suite", named, tmp_path, run_suite)


# The folder itself


def test_a_folder_that_is_itself_a_link_is_refused_with_its_target(
    run: Path, corpus: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "real-run")
    shutil.copytree(corpus / "corpus", tmp_path / "real-corpus")
    shutil.copytree(run / "export", tmp_path / "real-export")
    before = snapshot(tmp_path)
    verbs: dict[str, Callable[[Path], object]] = {
        "real-run": going_on,
        "real-corpus": lambda copy: adding_text(copy, corpus),
        "real-export": lambda copy: export_run(run, copy, None),
    }
    for name, verb in verbs.items():
        (tmp_path / "link").symlink_to(tmp_path / name)
        with pytest.raises(
            UserError, match=rf"link is a symbolic link to .*{name}; .*: name its target"
        ):
            verb(tmp_path / "link")
        (tmp_path / "link").unlink()
    assert snapshot(tmp_path) == before
