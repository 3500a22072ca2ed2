"""A run on several sources: what it draws from, what it pins, and how each source is judged."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.request import added_to
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.open import open_run
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.checkpoint import _sums, checkpoints
from ernie_cmtl.verbs.evaluate import evaluate_run
from ernie_cmtl.verbs.extend import Extension, extended_config
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.corpora import build_corpus, make_corpus, quiet, sample_texts, write_jsonl
from tests.support.runs import Watcher, logged_lines, tiny_settings, trace


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("mixed")
    texts = sample_texts("en", 40)
    for name, part in (("code", texts[:24]), ("docs", texts[24:])):
        write_jsonl(folder / f"{name}.jsonl", part)
    words = [f"code={folder}/code.jsonl", f"docs={folder}/docs.jsonl"]
    make_corpus(words, folder / "corpus", mixture={"code": 0.25, "docs": 0.75})
    return Corpus(folder / "corpus")


def settings_of(corpus: Corpus, run: Path, **changes: Any) -> RunConfig:
    settings = tiny_settings(corpus, run) | {
        "stages": [{"name": "all", "budgets": {"knowledge_masking": 4}}]
    }
    return RunConfig.model_validate(settings | changes)


def share_of_docs(config: RunConfig) -> float:
    run = Run(config)
    (stream,) = run.streams("train")
    names = run.corpus.split("train").sources(
        np.array([stream.place(number)[0] for number in range(1024)])
    )
    return float((names == "docs").mean())


def test_the_corpus_brings_its_mixture_and_a_run_may_have_its_own(
    mixed: Corpus, tmp_path: Path
) -> None:
    assert share_of_docs(settings_of(mixed, tmp_path)) == pytest.approx(0.75, abs=0.03)
    assert share_of_docs(
        settings_of(mixed, tmp_path, mixture={"code": 0.9, "docs": 0.1})
    ) == pytest.approx(0.1, abs=0.03)
    assert share_of_docs(settings_of(mixed, tmp_path, mixture={"code": 1, "docs": 0})) == 0


def test_heldout_text_of_a_source_that_is_left_out_is_judged_apart(
    mixed: Corpus, tmp_path: Path
) -> None:
    config = settings_of(mixed, tmp_path / "run", mixture={"code": 1, "docs": 0})
    trained = pretrain(config, Watcher())
    found = evaluate_run(tmp_path / "run", None)
    head = "knowledge_masking/masked_token"
    assert found["heldout"] == trained["heldout"] == found["sources"]["code"]
    assert found["sources"]["docs"][head]["labels"] > 0
    assert found["sources"]["docs"][head]["loss"] != found["sources"]["code"][head]["loss"]
    pinned = json.loads((tmp_path / "run" / "corpus.json").read_text())
    assert pinned["mixture"] == {"code": 1.0, "docs": 0.0}


def test_a_task_that_finds_nothing_in_a_source_is_missing_there(tmp_path: Path) -> None:
    single = [f"Here is one sentence with the number {n} in it" for n in range(20)]
    for name, part in (("long", sample_texts("en", 30)), ("single", single)):
        write_jsonl(tmp_path / f"{name}.jsonl", part)
    make_corpus(
        [f"{name}={tmp_path}/{name}.jsonl" for name in ("long", "single")], tmp_path / "corpus"
    )
    budgets = {"knowledge_masking": 2, "sentence_reordering": 2}
    config = settings_of(
        Corpus(tmp_path / "corpus"), tmp_path / "run", stages=[{"name": "all", "budgets": budgets}]
    )
    pretrain(config, Watcher())
    sources = evaluate_run(tmp_path / "run", None)["sources"]
    assert set(sources["long"]) == {"knowledge_masking/masked_token", "sentence_reordering/order"}
    assert set(sources["single"]) == {"knowledge_masking/masked_token"}


def test_a_run_does_not_go_on_with_another_mixture(mixed: Corpus, tmp_path: Path) -> None:
    pretrain(settings_of(mixed, tmp_path / "run"), Watcher(interrupt_at=2))
    with pytest.raises(UserError, match="other settings of mixture"):
        pretrain(
            settings_of(mixed, tmp_path / "run", mixture={"code": 0.5, "docs": 0.5}), Watcher()
        )


def copy_of(corpus: Corpus, folder: Path) -> Corpus:
    shutil.copytree(corpus.folder, folder)
    return Corpus(folder)


def add(corpus: Corpus, words: list[str], **settings: Any) -> None:
    build(added_to(words, corpus.folder, PrepareConfig.model_validate(settings)), 1, quiet)


def test_a_layer_that_no_task_reads_does_not_stop_a_run(english: Corpus, tmp_path: Path) -> None:
    corpus = copy_of(english, tmp_path / "corpus")
    names = tmp_path / "names.txt"
    names.write_text("the statement\n")
    tasks = {"knowledge_masking": {"masking": {"spans": ["collocations"]}}}
    config = settings_of(corpus, tmp_path / "run", tasks=tasks)
    pretrain(config, Watcher(interrupt_at=2))
    add(corpus, [], layers={"gazetteer": {"files": [str(names)]}})
    assert pretrain(config, Watcher())["steps"] == 4


def add_names(corpus: Corpus, folder: Path) -> None:
    names = folder / "names.txt"
    names.write_text("the statement\nof the\nreturns\n")
    add(corpus, [], layers={"gazetteer": {"files": [str(names)]}})


def test_a_run_does_not_go_on_when_its_text_has_changed(english: Corpus, tmp_path: Path) -> None:
    corpus = copy_of(english, tmp_path / "corpus")
    config = settings_of(corpus, tmp_path / "run")
    pretrain(config, Watcher(interrupt_at=2))
    add(corpus, [str(write_jsonl(tmp_path / "more.jsonl", sample_texts("en", 45)[40:]))])
    shards = len(english.manifest.shards)
    what = rf"other text \({shards} shards, now {shards + 1}\)"
    with pytest.raises(UserError, match=f"another corpus than .*: {what}; .*--corpus"):
        pretrain(config, Watcher())
    with pytest.raises(UserError, match=f"is not the one that run .*: {what}; .*--corpus"):
        open_run(tmp_path / "run")
    # Named as another corpus of the same vocabulary, it is taken as it is.
    assert evaluate_run(tmp_path / "run", None, corpus.folder)["step"] == 3


def forget_what_was_read(run: Path) -> None:
    """Leave a run as an earlier version wrote it: without its span layers and its content."""
    (checkpoint,) = checkpoints(run / "checkpoints")
    written = json.loads((checkpoint / "state.json").read_text())
    del written["run"]["settings"]["spans"], written["run"]["content"]
    (checkpoint / "state.json").write_text(json.dumps(written))
    (checkpoint / "SHA256SUMS").write_text(_sums(checkpoint))
    settings = yaml.safe_load((run / "config.yaml").read_text())
    del settings["spans"]
    (run / "config.yaml").write_text(yaml.safe_dump(settings))


@pytest.mark.parametrize("earlier", [False, True])
def test_span_layers_that_came_later_are_none_of_the_run(
    english: Corpus, tmp_path: Path, earlier: bool
) -> None:
    corpus = copy_of(english, tmp_path / "corpus")
    whole = settings_of(corpus, tmp_path / "whole")
    pretrain(whole, Watcher())
    config = settings_of(corpus, tmp_path / "run")
    pretrain(config, Watcher(interrupt_at=2))
    before = evaluate_run(tmp_path / "run", None)["heldout"]
    if earlier:
        forget_what_was_read(tmp_path / "run")
    add_names(corpus, tmp_path)
    # A new run masks by it, and a run cannot be made to.
    named = config.model_copy(update={"spans": Corpus(corpus.folder).profile.spans})
    with pytest.raises(UserError, match=r"other settings of spans\.\d \(None, now gazetteer\)"):
        pretrain(named, Watcher())
    assert evaluate_run(tmp_path / "run", None)["heldout"] == before
    watcher = Watcher()
    assert pretrain(config, watcher)["finished"]
    assert watcher.began_at == 3
    assert trace(tmp_path / "run") == trace(tmp_path / "whole")
    extended = extended_config(tmp_path / "run", Extension("sentence_order", budget=1))
    assert pretrain(extended, Watcher())["steps"] == 4 + 1 + 1
    assert not logged_lines(tmp_path / "run", "settings")


def test_a_run_names_the_span_layers_of_all_its_tasks(english: Corpus, tmp_path: Path) -> None:
    config = settings_of(english, tmp_path / "run", spans=["collocations"])
    assert Run(config).read_layers == ["collocations", "word_starts"]
    unknown = settings_of(english, tmp_path / "run", spans=["colocations"])
    with pytest.raises(UserError, match=r"no span layer 'colocations'.* has capitalized_names"):
        assert Run(unknown).instances


def test_a_run_is_judged_on_another_corpus_of_its_vocabulary(
    english: Corpus, tmp_path: Path
) -> None:
    pretrain(settings_of(english, tmp_path / "run"), Watcher())
    other = sample_texts("en", 70)[40:]
    build_corpus(
        tmp_path / "other", other, tokenizer={"name_or_path": str(english.folder / "tokenizer")}
    )
    found = evaluate_run(tmp_path / "run", None, tmp_path / "other" / "corpus")
    own = evaluate_run(tmp_path / "run", None)
    head = "knowledge_masking/masked_token"
    assert found["corpus"] == str(tmp_path / "other" / "corpus")
    assert found["heldout"][head]["loss"] != own["heldout"][head]["loss"]
    build_corpus(tmp_path / "foreign", other)
    with pytest.raises(UserError, match="another vocabulary than run"):
        evaluate_run(tmp_path / "run", None, tmp_path / "foreign" / "corpus")
