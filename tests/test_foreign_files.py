"""Each header and index that we read, changed in a thousand ways: what opens it says what is wrong,
or finds it in order. No change ends in a traceback.
"""

import hashlib
import itertools
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from random import Random

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from transformers import PreTrainedModel

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.read.documents import read_documents
from ernie_cmtl.corpus.read.inputs import find_inputs
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.tokens.tokenizer import load_tokenizer
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.masked_lm import load_masked_lm
from ernie_cmtl.finetuning.models import load_tokenizer as load_tokenizer_to_tune
from ernie_cmtl.finetuning.task_views import choose_task
from ernie_cmtl.model.init_from import checkpoint_weights
from ernie_cmtl.records import Rejection
from ernie_cmtl.run.feedback_history import Feedback
from ernie_cmtl.run.open import open_run, saved_config
from ernie_cmtl.run.resume import config_of_checkpoint, newest_state, resume_point
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.checkpoint import verify_checkpoint
from ernie_cmtl.training.checkpoint_tensors import load_optimizer, load_weights
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.trainer import Trainer
from ernie_cmtl.verbs.export import export_run
from tests.support.mutations import changed
from tests.support.runs import finished_run
from tests.support.tuning import model_to_tune, recipe

SECONDS = 60
UNSEALABLE = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError),
    OSError,
)
"""What it may raise to write hashes into an index that says other things now."""
Check = Callable[[Path], object]


@contextmanager
def in_time() -> Iterator[None]:
    """End what hangs."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done in {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def try_changes(folder: Path, file: Path, seeds: range, seal: Check, open_: Check) -> int:
    """Change a file once for each seed and open what it belongs to; return how often that was
    refused. seal: writes the hashes anew, as somebody who means it would.
    """
    whole = {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and _is_index(path)
    } | {file: file.read_bytes()}
    refused = 0
    for seed in seeds:
        random = Random(f"{file.name} {seed}")
        file.write_bytes(changed(file.name, whole[file], random))
        try:
            # What is broken beyond an index cannot be sealed either.
            with suppress(*UNSEALABLE):
                seal(folder)
            with in_time():
                open_(folder)
        except UserError:
            refused += 1
        except BaseException as error:
            error.add_note(f"{file.relative_to(folder)}, seed {seed}")
            raise
        finally:
            for path, data in whole.items():
                path.write_bytes(data)
    return refused


def _is_index(path: Path) -> bool:
    return path.name in ("manifest.json", "SHA256SUMS")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# A corpus


def seal_corpus(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    for name in manifest["files"]:
        manifest["files"][name] = _hash(folder / name)
    for shard in manifest["shards"]:
        for name in shard["hashes"]:
            shard["hashes"][name] = _hash(folder / "shards" / shard["name"] / f"{name}.npy")
    for name, table in manifest["labelled"].items():
        for array in table["hashes"]:
            table["hashes"][array] = _hash(folder / "labelled" / name / f"{array}.npy")
    path.write_text(json.dumps(manifest), encoding="utf-8")


def read_corpus(folder: Path) -> None:
    """Open a corpus and draw samples from it, as the first steps of a run do."""
    settings = {
        "run": folder / "run",
        "corpus": folder,
        "stages": [{"name": "all", "budgets": {"knowledge_masking": 2, "rows": 1}}],
        "tasks": {"rows": {"type": "supervised", "table": "mrpc", "label": "label"}},
        "data": {"row_length": 64, "rows": 4, "rows_per_group": 2},
    }
    run = Run(RunConfig.model_validate(settings))
    assert run.corpus.profile
    for split in ("train", "heldout"):
        for stream in run.streams(split):
            for number in range(3):
                stream.example(number)


@pytest.fixture(scope="module")
def corpus(judged: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign") / "corpus"
    shutil.copytree(judged.folder, folder)
    return folder


# A run


def seal_run(folder: Path) -> None:
    checkpoint = next((folder / "checkpoints").iterdir())
    names = ("model.safetensors", "optimizer.safetensors", "state.json")
    sums = "".join(f"{_hash(checkpoint / name)}  {name}\n" for name in names)
    (checkpoint / "SHA256SUMS").write_text(sums)


def checkpoint_of(folder: Path) -> Path:
    (found,) = (folder / "checkpoints").iterdir()
    return found


@cache
def run_of(folder: Path) -> Run:
    return Run(saved_config(folder))


@cache
def trainer_of(folder: Path) -> Trainer:
    """Make a model and an optimizer of the same sizes, once."""
    run = run_of(folder)
    return run.new_trainer(run.make_model(), Workers("fp32"))


def read_run_state(folder: Path) -> None:
    verify_checkpoint(checkpoint_of(folder))
    run, _, state = resume_point(run_of(folder), newest_state(run_of(folder)))
    assert state
    Feedback(run.config, run.table).load(state.feedback)
    config_of_checkpoint(run.config, state)


def read_run_weights(folder: Path) -> None:
    verify_checkpoint(checkpoint_of(folder))
    load_weights(checkpoint_of(folder), trainer_of(folder).model)


def read_moments(folder: Path) -> None:
    trainer = trainer_of(folder)
    verify_checkpoint(checkpoint_of(folder))
    load_optimizer(checkpoint_of(folder), trainer.model, trainer.optimizer)


@pytest.fixture(scope="module")
def finished(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(english, tmp_path_factory.mktemp("foreign") / "run")


# A model


@cache
def same_model_to_tune(folder: Path) -> PreTrainedModel:
    return model_to_tune(folder)


DOORS: dict[str, list[Check]] = {
    "model": [
        lambda folder: load_masked_lm(str(folder)),
        model_to_tune,
        lambda folder: checkpoint_weights(str(folder), "rotary"),
    ],
    "tokenizer": [load_tokenizer, lambda folder: load_tokenizer_to_tune(str(folder))],
    "task": [
        lambda folder: choose_task(same_model_to_tune(folder), str(folder), recipe(task_row=1)),
        lambda folder: choose_task(
            same_model_to_tune(folder), str(folder), recipe(task_row="mean")
        ),
    ],
}


def in_turn(kind: str) -> Check:
    """Return what opens a model by one of several doors, each time by the next."""
    doors = itertools.cycle(DOORS[kind])
    return lambda folder: next(doors)(folder)


@pytest.fixture(scope="module")
def model(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    run = finished_run(english, folder / "run", positions="rotary", layers=1)
    export_run(run, folder / "model", None)
    return folder / "model"


# Text of others, behind an index


def read_text(name: str) -> Check:
    """Return what reads all documents; a rejected one counts as a refusal."""

    def read(folder: Path) -> None:
        (source,) = find_inputs([name.format(folder)])
        for document in read_documents(source, ReaderConfig(text_field="text")):
            if isinstance(document, Rejection):
                raise UserError(document.reason)

    return read


read_dataset, read_parquet = read_text("datasets:{}"), read_text("{}/rows.parquet")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    texts = {"text": [f"The road {number} is long." for number in range(50)]}
    datasets.Dataset.from_dict(texts).save_to_disk(folder / "saved")
    (folder / "packed").mkdir()
    pyarrow.parquet.write_table(pyarrow.table(texts), folder / "packed" / "rows.parquet")
    return folder


def no_seal(_: Path) -> None:
    """Nothing keeps hashes."""


STEP = "checkpoints/step-2"
CASES: dict[str, tuple[str, str, Check, Check, int]] = {
    "manifest": ("corpus", "manifest.json", seal_corpus, read_corpus, 60),
    "token ids": ("corpus", "shards/00000/token_ids.npy", seal_corpus, read_corpus, 40),
    "sentences": ("corpus", "shards/00000/sentence_offsets.npy", seal_corpus, read_corpus, 40),
    "documents": ("corpus", "shards/00000/document_offsets.npy", seal_corpus, read_corpus, 40),
    "a layer": ("corpus", "shards/00000/word_starts.npy", seal_corpus, read_corpus, 40),
    "rows": ("corpus", "labelled/mrpc/token_ids.npy", seal_corpus, read_corpus, 30),
    "row offsets": ("corpus", "labelled/mrpc/sentence_offsets.npy", seal_corpus, read_corpus, 40),
    "classes": ("corpus", "labelled/mrpc/labels-2.npy", seal_corpus, read_corpus, 40),
    "tokenizer of a corpus": ("corpus", "tokenizer/tokenizer.json", seal_corpus, read_corpus, 40),
    "its settings": ("corpus", "tokenizer/tokenizer_config.json", seal_corpus, read_corpus, 30),
    "state": ("finished", "checkpoints/step-2/state.json", seal_run, read_run_state, 100),
    "weights of a run": (
        "finished",
        "checkpoints/step-2/model.safetensors",
        seal_run,
        read_run_weights,
        60,
    ),
    "moments": ("finished", "checkpoints/step-2/optimizer.safetensors", seal_run, read_moments, 50),
    "settings of a run": ("finished", "config.yaml", no_seal, open_run, 60),
    "config": ("model", "config.json", no_seal, in_turn("model"), 60),
    "weights": ("model", "model.safetensors", no_seal, in_turn("model"), 40),
    "tokenizer": ("model", "tokenizer.json", no_seal, in_turn("tokenizer"), 40),
    "its own settings": (
        "model",
        "tokenizer_config.json",
        no_seal,
        in_turn("tokenizer"),
        40,
    ),
    "what a model says": ("model", "pretraining.json", no_seal, in_turn("task"), 40),
    "rows of tasks": ("model", "task_embedding.safetensors", no_seal, in_turn("task"), 40),
    "state of a dataset": ("tables", "saved/state.json", no_seal, read_dataset, 30),
    "a dataset": ("tables", "saved/dataset_info.json", no_seal, read_dataset, 30),
    "arrow": ("tables", "saved/data-00000-of-00001.arrow", no_seal, read_dataset, 30),
    "parquet": ("tables", "packed/rows.parquet", no_seal, read_parquet, 30),
}
"""What is changed: fixture, file, what seals it, what opens it, and how often in a quick run."""


def attempt(name: str, request: pytest.FixtureRequest, seeds: range) -> None:
    fixture, file, seal, open_, _ = CASES[name]
    folder: Path = request.getfixturevalue(fixture)
    if fixture == "tables":
        folder, file = folder / Path(file).parts[0], Path(file).name
    open_(folder)
    refused = try_changes(folder, folder / file, seeds, seal, open_)
    # Not all changes matter; some do in every file.
    assert refused


@pytest.mark.parametrize("name", CASES)
def test_a_changed_file_is_refused_or_in_order(name: str, request: pytest.FixtureRequest) -> None:
    attempt(name, request, range(CASES[name][-1]))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_file_changed_in_many_ways(name: str, request: pytest.FixtureRequest) -> None:
    attempt(name, request, range(1000, 1000 + 20 * CASES[name][-1]))


def test_the_quick_run_has_a_thousand_changes() -> None:
    assert sum(case[-1] for case in CASES.values()) >= 1000
