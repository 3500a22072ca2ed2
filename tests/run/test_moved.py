"""A run is where it lies, and its corpus where it lies beside it: copied, moved and renamed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.corpus_place import found_place, written_place
from ernie_cmtl.run.open import open_run, read_config
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.command_line import call, mistake, result_of, squeezed
from tests.support.corpora import build_corpus, sample_texts
from tests.support.runs import Watcher, tiny_settings

CORPUS, RUN = Path("corpora") / "tiny", Path("runs") / "mine"


@pytest.fixture(scope="module")
def stopped(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a corpus and a run that stands at step 6 of 12."""
    folder = tmp_path_factory.mktemp("stopped") / "checkout"
    shutil.copytree(english.folder, folder / CORPUS)
    settings = tiny_settings(Corpus(folder / CORPUS), folder / RUN)
    pretrain(RunConfig.model_validate(settings), Watcher(interrupt_at=5))
    return folder


@pytest.fixture
def checkout(stopped: Path, tmp_path: Path) -> Iterator[Path]:
    """The checkout, copied: nothing of the first one is there to be found."""
    shutil.copytree(stopped, tmp_path / "checkout")
    stopped.rename(stopped.with_name("hidden"))
    yield tmp_path / "checkout"
    stopped.with_name("hidden").rename(stopped)


def corpus_of(run: Path) -> Path:
    return open_run(run)[0].config.corpus


def test_a_copied_checkout_trains_on_its_own_corpus(stopped: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped, tmp_path / "copy")
    before = (stopped / RUN / "metrics.jsonl").read_bytes()
    assert corpus_of(tmp_path / "copy" / RUN) == tmp_path / "copy" / CORPUS
    watcher = Watcher()
    result = pretrain(read_config(tmp_path / "copy" / RUN / "config.yaml"), watcher)
    assert (watcher.began_at, result["finished"]) == (6, True)
    assert result["run"] == str(tmp_path / "copy" / RUN)
    assert (stopped / RUN / "metrics.jsonl").read_bytes() == before
    written = yaml.safe_load((tmp_path / "copy" / RUN / "config.yaml").read_text())
    assert written["corpus"] == "../../corpora/tiny"
    noted = json.loads((tmp_path / "copy" / RUN / "corpus.json").read_text())
    assert noted["place"] == str(tmp_path / "copy" / CORPUS)


def test_a_run_that_is_moved_alone_finds_its_corpus(checkout: Path, tmp_path: Path) -> None:
    # Trained here once, so that the run knows where its corpus is.
    pretrain(read_config(checkout / RUN / "config.yaml", ["training.max_hours=1e-9"]), Watcher())
    (checkout / RUN).rename(tmp_path / "elsewhere")
    assert corpus_of(tmp_path / "elsewhere") == checkout / CORPUS


def test_a_renamed_run_goes_on_at_its_new_place(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / RUN).rename(checkout / "runs" / "renamed")
    monkeypatch.chdir(checkout / "runs" / "renamed")
    assert read_config(Path("config.yaml")).corpus == checkout / CORPUS
    monkeypatch.chdir(checkout)
    found = result_of("pretrain", "runs/renamed/config.yaml")
    assert (found["run"], found["steps"]) == ("runs/renamed", 12)
    assert [path.name for path in (checkout / "runs").iterdir()] == ["renamed"]


def test_an_option_beats_the_place_of_the_configuration(checkout: Path, tmp_path: Path) -> None:
    words = [f"run={tmp_path / 'new'}", "corpus=there"]
    config = read_config(checkout / RUN / "config.yaml", words)
    assert (config.run, config.corpus) == (tmp_path / "new", Path("there"))


def verbs(folder: Path) -> dict[str, list[str | Path]]:
    """Every verb that opens a run, with words that do little."""
    run, few = folder / RUN, ["training.heldout.samples=4"]
    return {
        "evaluate": ["evaluate", run, *few],
        "export": ["export", run, "--output", folder / "model"],
        "finetune": ["finetune", run, "--task", folder / "recipe.yaml", "--data", folder],
        "extend": ["extend", run, "--task", "sentence_order", "--budget", "1", "--dry-run"],
        "bench": ["bench", run / "config.yaml", "--steps", "1", "--warmup", "0"],
        "plan": ["plan", run / "config.yaml"],
        "pretrain": ["pretrain", run / "config.yaml"],
    }


def write_recipe(folder: Path) -> None:
    rows = [f"{number % 2}\tThe word {number} is here.\n" for number in range(6)]
    for split in ("train", "dev"):
        (folder / f"{split}.tsv").write_text("".join(["label\ttext\n", *rows]))
    recipe = {
        "kind": "classification",
        "data": {"train": "train.tsv", "dev": "dev.tsv"},
        "columns": {"text": "text", "label": "label"},
        "train": {"learning_rates": [1e-4], "seeds": [1], "max_steps": 1},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def test_every_verb_takes_the_new_place_of_a_corpus(checkout: Path, tmp_path: Path) -> None:
    write_recipe(checkout)
    (checkout / CORPUS).rename(tmp_path / "moved")
    pretrain(
        read_config(checkout / RUN / "config.yaml", [f"corpus={tmp_path / 'moved'}"]), Watcher()
    )
    # The run knows the new place now; it moves once more.
    (tmp_path / "moved").rename(tmp_path / "again")
    for verb, words in verbs(checkout).items():
        if verb != "plan":
            said = mistake(*words)
            assert squeezed(f"no corpus at {tmp_path / 'moved'}") in said, verb
            assert "--corpusDIR" in said
        done = call(*words, "--corpus", tmp_path / "again", "--json")
        assert done.exit_code == 0, (verb, done.stderr)


def test_another_corpus_of_the_same_place_is_named(checkout: Path) -> None:
    shutil.rmtree(checkout / CORPUS)
    build_corpus(checkout / "corpora", sample_texts("en", 12))
    (checkout / "corpora" / "corpus").rename(checkout / CORPUS)
    with pytest.raises(UserError, match=r"is not the one that run .*: another vocabulary"):
        open_run(checkout / RUN)
    with pytest.raises(UserError, match="has another vocabulary than run"):
        open_run(checkout / RUN, corpus=checkout / CORPUS)


@pytest.mark.parametrize(
    ("folder", "corpus", "written"),
    [
        ("/work/a/runs/r", "/work/a/corpora/c", "../../corpora/c"),
        ("/work/a", "/work/a/corpus", "corpus"),
        ("/scratch/r", "/data/c", "/data/c"),
    ],
)
def test_a_corpus_is_seen_from_the_run_where_they_share_a_folder(
    folder: str, corpus: str, written: str
) -> None:
    assert written_place(Path(folder), Path(corpus)) == written
    assert found_place(Path(folder), written, None) == Path(corpus)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"place": 3}', "\xff", "[" * 100_000])
def test_a_damaged_note_of_the_place_is_no_obstacle(checkout: Path, content: str) -> None:
    (checkout / RUN / "corpus.json").write_bytes(content.encode("latin-1"))
    assert corpus_of(checkout / RUN) == checkout / CORPUS
