"""A finished run with one more task: what stays as it was, what begins anew, and what is
refused.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ernie_cmtl import task_registry
from ernie_cmtl.config import RunConfig, load_run_config
from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.request import added_to
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.families.ernie import Ernie
from ernie_cmtl.run.open import read_config
from ernie_cmtl.run.resume import load_newest, read_checkpoint
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.checkpoint import checkpoints, load_state
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.verbs.evaluate import evaluate_run
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.extend import Extension, extended_config
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.command_line import call, mistake, result_of
from tests.support.corpora import build_corpus, quiet, sample_texts
from tests.support.runs import Watcher, tiny_settings

ROOT = Path(__file__).parents[2]
ORDER = Extension("sentence_order")
OLD_TASKS = ("knowledge_masking", "capitalization", "sentence_reordering")


def extend(run: Path, extension: Extension, watcher: Watcher | None = None) -> dict[str, Any]:
    return pretrain(extended_config(run, extension), watcher or Watcher())


def state_of(run: Path) -> dict[str, torch.Tensor]:
    newest = checkpoints(run / "checkpoints")[-1]
    return load_file(newest / "model.safetensors") | load_file(newest / "optimizer.safetensors")


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert not [name for name in first if not torch.equal(first[name], second[name])]


def train_lines(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "train"]


@pytest.fixture(scope="module")
def finished(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve steps: eight of knowledge masking, two of capitalization, two of sentence
    reordering.
    """
    run = tmp_path_factory.mktemp("finished") / "run"
    pretrain(RunConfig.model_validate(tiny_settings(english, run)), Watcher())
    return run


@pytest.fixture(scope="module")
def extended(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("extended") / "run"
    shutil.copytree(finished, run)
    assert extend(run, ORDER)["steps"] == 24
    return run


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def test_the_run_folder_tells_of_the_new_stage(extended: Path) -> None:
    stage = load_run_config(extended / "config.yaml").stages[-1]
    # Three old tasks review a fifth: 1.6, 0.4 and 0.4, at least 1. The new one has as much as the
    # largest of them.
    assert stage.name == "sentence_order"
    assert stage.budgets == {
        "knowledge_masking": 2,
        "capitalization": 1,
        "sentence_reordering": 1,
        "sentence_order": 8,
    }
    assert json.loads((extended / "corpus.json").read_text())["layers"] == [
        "capitalized_names",
        "collocations",
        "letter_case",
        "word_starts",
    ]


def test_the_learning_rate_begins_anew_and_the_old_one_stays(
    finished: Path, extended: Path
) -> None:
    before = [line["learning_rate"] for line in train_lines(finished)]
    after = [line["learning_rate"] for line in train_lines(extended)]
    assert after[:12] == before
    # A warm-up of two steps to the peak, then down to nothing over the twelve steps of the stage.
    assert after[12:] == pytest.approx(
        [0.5e-3, 1e-3, *(1e-3 * (1 - done / 10) for done in range(10))]
    )


def test_tokens_follow_the_budgets_of_the_new_stage(finished: Path, extended: Path) -> None:
    first, last = train_lines(finished)[-1]["consumed"], train_lines(extended)[-1]["consumed"]
    gained = {task: tokens - first.get(task, 0) for task, tokens in last.items()}
    budgets = {
        "knowledge_masking": 2,
        "capitalization": 1,
        "sentence_reordering": 1,
        "sentence_order": 8,
    }
    for task, budget in budgets.items():
        # What was ahead or behind at the hand-over, and what is at the end.
        assert abs(gained[task] - sum(gained.values()) * budget / 12) < 2 * 64


def test_weights_and_moments_are_handed_over_unchanged(copied: Path) -> None:
    old = state_of(copied)
    run = Run(extended_config(copied, ORDER))
    model, fresh = run.new_model(), run.new_model().state_dict()
    state = read_checkpoint(checkpoints(copied / "checkpoints")[-1])[1]
    trainer = run.new_trainer(model, Workers("fp32"))
    optimizer = trainer.optimizer
    load_newest(run, trainer, state, 12)
    new_head = {f"heads.sentence_order/order.dense.{name}" for name in ("weight", "bias")}
    found = model.state_dict()
    assert found.keys() - old.keys() == new_head
    assert all(torch.equal(found[name], fresh[name]) for name in new_head)
    assert not [name for name in found.keys() - new_head if not torch.equal(found[name], old[name])]
    moments = {
        f"{name}|{entry}": value
        for name, parameter in model.named_parameters()
        for entry, value in optimizer.state.get(parameter, {}).items()
    }
    assert_same(moments, {name: value for name, value in old.items() if "|" in name})
    assert not [name for name in moments if name.partition("|")[0] in new_head]


def test_an_extended_run_is_one_that_had_the_task_from_the_beginning(
    english: Corpus, tmp_path: Path
) -> None:
    """With a constant rate nothing tells them apart; stages of other rows make new streams besides
    the new task.
    """

    def settings(name: str) -> dict[str, Any]:
        found = tiny_settings(english, tmp_path / name)
        found["stages"] = [
            {"name": "short", "budgets": {"knowledge_masking": 3}, "row_length": 32},
            {"name": "long", "budgets": {"sentence_reordering": 2, "knowledge_masking": 1}},
        ]
        found["encoder"]["dropout"] = 0.0
        found["optimizer"] = {"schedule": "constant", "learning_rate": 1e-3}
        return found

    late = tmp_path / "late"
    pretrain(RunConfig.model_validate(settings("late")), Watcher())
    result = extend(
        late, Extension("capitals", "capitalization", 2, 0.25, "late", ["maximum_length=40"])
    )
    early = settings("early")
    # A quarter of 4 and of 2, rounded half up.
    early["stages"].append(
        {
            "name": "late",
            "budgets": {"knowledge_masking": 1, "sentence_reordering": 1, "capitals": 2},
        }
    )
    early["tasks"] = {"capitals": {"type": "capitalization", "maximum_length": 40}}
    whole = pretrain(RunConfig.model_validate(early), Watcher())
    assert_same(state_of(late), state_of(tmp_path / "early"))
    for key in ("steps", "consumed", "iterations", "samples", "losses"):
        assert result[key] == whole[key]
    ledgers = [
        load_state(checkpoints(tmp_path / name / "checkpoints")[-1])[0]
        for name in ("late", "early")
    ]
    assert ledgers[0] == ledgers[1]


@pytest.mark.parametrize("crash_at", [13, 18])
def test_a_broken_off_extension_goes_on_with_the_same_words(
    copied: Path, extended: Path, crash_at: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        extend(copied, ORDER, Watcher(crash_at=crash_at))
    # No checkpoint of the new stage is there yet at step 13, and the run opens as what it was.
    step = {13: 12, 18: 16}[crash_at]
    scores = evaluate_run(copied, None)
    assert scores["step"] == step
    assert ("sentence_order/order" in scores["heldout"]) == (step > 12)
    with pytest.raises(
        UserError, match=f"is not finished, it stands at step {step} of 24.*run/config.yaml"
    ):
        extended_config(copied, Extension("sentence_order", budget=5))
    with pytest.raises(UserError, match=f"it stands at step {step} of 24"):
        extended_config(copied, Extension("sentence_distance"))
    watcher = Watcher()
    extend(copied, ORDER, watcher)
    assert watcher.began_at == step
    assert_same(state_of(copied), state_of(extended))
    assert [line["loss"] for line in train_lines(copied)] == [
        line["loss"] for line in train_lines(extended)
    ]


def test_a_broken_off_extension_goes_on_with_the_configuration_of_its_folder(
    copied: Path, extended: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        extend(copied, ORDER, Watcher(crash_at=14))
    pretrain(read_config(copied / "config.yaml"), Watcher())
    assert_same(state_of(copied), state_of(extended))


def test_the_checkpoint_that_was_extended_stays_and_opens_as_what_it_was(
    finished: Path, extended: Path
) -> None:
    assert [path.name for path in checkpoints(extended / "checkpoints")] == [
        "step-12",
        "step-20",
        "step-24",
    ]
    assert evaluate_run(extended, 12)["heldout"] == evaluate_run(finished, None)["heldout"]
    with pytest.raises(UserError, match="no checkpoint at step 16"):
        evaluate_run(extended, 16)


def test_an_extended_run_is_exported_with_all_its_tasks(extended: Path, tmp_path: Path) -> None:
    assert export_run(extended, tmp_path / "model", None)["max_abs_logit_difference"] == 0
    about = json.loads((tmp_path / "model" / "pretraining.json").read_text())
    assert about["tasks"] == {
        **{task: row for row, task in enumerate(OLD_TASKS)},
        "sentence_order": 3,
    }
    assert (about["steps"], about["stages"]) == (24, ["first", "second", "sentence_order"])
    assert len(about["heads"]["sentence_order/order"]["classes"]) == 2


def test_a_run_is_extended_twice(copied: Path) -> None:
    extend(copied, Extension("sentence_order", budget=2, review=0))
    result = extend(copied, Extension("swaps", "sentence_order", 3, stage="again"))
    # Four old tasks review a sixth: 1.3 and less.
    assert result["steps"] == 12 + 2 + 4 + 3
    stages = load_run_config(copied / "config.yaml").stages
    assert stages[2].budgets == {"sentence_order": 2}
    assert stages[3].budgets == {**dict.fromkeys([*OLD_TASKS, "sentence_order"], 1), "swaps": 3}
    rates = [line["learning_rate"] for line in train_lines(copied)]
    # Each stage warms up in two steps; what follows the second one's warm-up is linear over five
    # steps.
    assert rates[12:] == pytest.approx(
        [0.5e-3, 1e-3, 0.5e-3, 1e-3, *(1e-3 * (1 - done / 5) for done in range(5))]
    )
    with pytest.raises(
        UserError,
        match=r"'sentence_order' is there already; the run has knowledge_masking, .*swaps",
    ):
        extended_config(copied, Extension("sentence_order", budget=2, review=0))


def test_a_missing_layer_is_named_and_can_be_added_to_the_corpus(tmp_path: Path) -> None:
    layers: dict[str, Any] = {"collocations": {"minimum_count": 4}}
    build_corpus(tmp_path, sample_texts("en"), layers=layers)
    corpus = Corpus(tmp_path / "corpus")
    settings = tiny_settings(corpus, tmp_path / "run")
    settings["stages"] = [{"name": "all", "budgets": {"knowledge_masking": 2}}]
    pretrain(RunConfig.model_validate(settings), Watcher())
    before = (tmp_path / "run" / "config.yaml").read_text()
    words = Extension("discourse_relation", budget=2)
    with pytest.raises(
        UserError,
        match=r"needs "
        r"layer "
        r"'discourse_markers', "
        r".* "
        r"prepare "
        r"--corpus "
        r"DIR "
        r"--layers "
        r"discourse_markers",
    ):
        extended_config(tmp_path / "run", words)
    assert (tmp_path / "run" / "config.yaml").read_text() == before
    added = PrepareConfig.model_validate({"layers": {"discourse_markers": {"comma": False}}})
    build(added_to([], tmp_path / "corpus", added), 1, quiet)
    assert extend(tmp_path / "run", words)["steps"] == 2 + 1 + 2
    pinned = json.loads((tmp_path / "run" / "corpus.json").read_text())
    assert pinned["layers"] == ["collocations", "discourse_markers", "word_starts"]
    # The new pin holds for what comes next.
    assert (
        extended_config(tmp_path / "run", Extension("sentence_order")).stages[-1].name
        == "sentence_order"
    )


def test_another_corpus_or_other_settings_are_refused(copied: Path, tmp_path: Path) -> None:
    build_corpus(tmp_path, sample_texts("en", 30))
    for word, message in (
        (f"corpus={tmp_path / 'corpus'}", "was trained on another corpus"),
        ("seed=4", "made with other settings of seed"),
        ("tasks.sentence_reordering.segments=4", "made with other settings of tasks"),
    ):
        with pytest.raises(UserError, match=message):
            extended_config(copied, Extension("sentence_order", words=[word]))


def test_a_task_beyond_the_rows_of_the_task_embedding_is_refused(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ernie, "most_tasks", lambda config: 3)
    with pytest.raises(UserError, match="4 tasks, and the task embedding has rows for 3: take sen"):
        extended_config(copied, ORDER)


def test_the_table_of_a_longer_run_is_no_table_for_the_shorter_one(
    extended: Path, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(extended, tmp_path / "run")
    with pytest.raises(
        UserError, match=r"step 24 made with other settings of tasks\.sentence_order .*, stages\.2 "
    ):
        pretrain(read_config(finished / "config.yaml", [f"run={tmp_path / 'run'}"]), Watcher())


def test_the_verb_shows_the_table_and_trains(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_order.py").write_text(
        "from pretrain_tasks.sentence_order import SentenceOrder\n\n\nclass "
        "OwnOrder(SentenceOrder):\n    citation = 'a test'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(task_registry.TASKS, "_modules", {})
    words = (
        "extend",
        copied,
        "--task",
        "own_order",
        "--task-module",
        "own_order",
        "--budget",
        "2",
        "maximum_length=40",
    )
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    plan = result_of(*words, "--dry-run")["plan"]
    assert plan["stages"][-1]["name"] == "own_order"
    assert plan["stages"][-1]["budgets"] == dict(zip(OLD_TASKS, (2, 1, 1), strict=True)) | {
        "own_order": 2
    }
    assert plan["totals"] == {
        "knowledge_masking": 10,
        "capitalization": 3,
        "sentence_reordering": 3,
        "own_order": 2,
    }
    assert plan["total"] == sum(plan["totals"].values()) == 18
    shown = call(*words, "--dry-run").stdout
    rows = [[word for word in line.split() if word != "│"] for line in shown.splitlines()]
    assert ["knowledge_masking", "5", "3", "2", "10"] in [row[:5] for row in rows]
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before

    result = result_of(*words, "training.log_every=5")
    assert result["plan"] == plan
    assert (result["steps"], result["stages"], result["finished"]) == (
        18,
        ["first", "second", "own_order"],
        True,
    )
    assert result["heldout"]["own_order/order"]["labels"] > 0
    written = yaml.safe_load((copied / "config.yaml").read_text())
    assert written["tasks"]["own_order"] == {"type": None, "loss_weight": 1.0, "maximum_length": 40}
    assert written["training"]["log_every"] == 5


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        pytest.param(
            "{0} --task capitalization",
            ["'capitalization' is there already", *OLD_TASKS],
            id="task there",
        ),
        pytest.param(
            "{0} --task sentence_odor", ["'sentence_odor'", "sentence_order"], id="unknown task"
        ),
        pytest.param(
            "{0} --task x --type sentence_odor",
            ["'sentence_odor'", "sentence_order"],
            id="unknown type",
        ),
        pytest.param(
            "{0} --task a.b --type sentence_order",
            ["'a.b'", "letters, digits and underscores"],
            id="no name",
        ),
        pytest.param(
            "{0} --task sentence_order --budget 0", ["budget 0", "at least 1"], id="budget"
        ),
        pytest.param(
            "{0} --task sentence_order --review 1", ["review 1.0", "less than 1"], id="review"
        ),
        pytest.param(
            "{0} --task sentence_order --stage-name first",
            ["names must differ", "first"],
            id="stage there",
        ),
        pytest.param(
            "{0} --task sentence_order --stage-name a/b",
            ["stages.2.name", "'a/b'"],
            id="stage name",
        ),
        pytest.param(
            "{0} --task sentence_order segment=4",
            ["tasks.sentence_order", "'segment'"],
            id="unknown option",
        ),
        pytest.param(
            "{0} --task sentence_order training.log=4",
            ["'training.log'", "log_every"],
            id="unknown setting",
        ),
        pytest.param(
            "{0} --task sentence_order segments", ["segments", "key.sub=value"], id="malformed word"
        ),
        pytest.param(
            "{0} --task own --task-module no.such", ["no.such", "does not import"], id="no module"
        ),
        pytest.param(
            "{0}/absent --task sentence_order",
            ["absent is no run folder", "config.yaml"],
            id="no run",
        ),
    ],
)
def test_a_mistake_is_refused_before_anything_is_written(
    finished: Path, words: str, parts: list[str]
) -> None:
    before = (finished / "config.yaml").read_text()
    message = mistake("extend", *(word.format(finished) for word in words.split()))
    assert all("".join(part.split()) in message for part in parts), message
    assert (finished / "config.yaml").read_text() == before


def test_a_run_that_is_not_finished_is_refused(english: Corpus, tmp_path: Path) -> None:
    config = RunConfig.model_validate(tiny_settings(english, tmp_path / "run"))
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, Watcher(crash_at=2))
    with pytest.raises(UserError, match="it stands at step 0 of 12"):
        extended_config(config.run, ORDER)
    pretrain(config, Watcher(interrupt_at=6))
    with pytest.raises(UserError, match="it stands at step 7 of 12"):
        extended_config(config.run, ORDER)
    single = tiny_settings(english, tmp_path / "single")
    single["stages"] = single["stages"][:1]
    pretrain(RunConfig.model_validate(single), Watcher(interrupt_at=1))
    with pytest.raises(UserError, match="it stands at step 2 of 5"):
        extended_config(tmp_path / "single", ORDER)


@pytest.mark.parametrize("policy", ["forgetting", "bandit"])
def test_budgets_move_in_a_stage_that_was_added(
    english: Corpus, tmp_path: Path, policy: str
) -> None:
    """What was measured before does not know the new task; the new stage is measured at its start,
    once.
    """
    settings = tiny_settings(english, tmp_path / "run") | {
        "feedback": {"every": 3, "policy": policy}
    }
    pretrain(RunConfig.model_validate(settings), Watcher())
    with pytest.raises(KeyboardInterrupt):
        extend(tmp_path / "run", ORDER, Watcher(crash_at=13))
    assert extend(tmp_path / "run", ORDER)["steps"] == 24
    history = load_state(tmp_path / "run" / "checkpoints" / "step-24")[1]["feedback"]["history"]
    assert [(measured["step"], "sentence_order" in measured["losses"]) for measured in history] == [
        *((step, False) for step in (0, 5, 8, 11)),
        *((step, True) for step in (12, 15, 18, 21)),
    ]


@pytest.mark.slow
def test_two_workers_extend_a_run_as_one_does(copied: Path, extended: Path) -> None:
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        str(ROOT / "launch.py"),
    ]
    words = ["extend", str(copied), "--task", "sentence_order", "--json"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "MASTER_PORT": str(20000 + os.getpid() % 20000),
    }
    done = subprocess.run(
        [*launcher, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["steps"] == 24
    for name, weight in state_of(extended).items():
        torch.testing.assert_close(state_of(copied)[name], weight, rtol=1e-3, atol=1e-5)
    assert train_lines(copied)[-1]["consumed"] == train_lines(extended)[-1]["consumed"]
    assert done.stderr.count("iterations, mixed") == 1
