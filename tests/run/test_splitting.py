"""Tasks that begin together and part where their gradients disagree: when, with which weights, and
what a checkpoint keeps of it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.sharing import Grouping, SharingTable, Splitting
from ernie_cmtl.run.run import Run
from ernie_cmtl.run.splitting import sharing_state, split_is_due, with_decisions
from ernie_cmtl.verbs.evaluate import evaluate_run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import Watcher, final_tensors, logged_lines, tiny_settings
from tests.support.workers import together

TASKS = ["knowledge_masking", "capitalization", "sentence_reordering"]
TABLE = SharingTable(
    ("", "b", "c", "d"),
    1,
    splitting=Splitting(10, 0.0, 8),
    decisions=(Grouping(5, ("", "", "", "")), Grouping(10, ("", "b", "b", "b"))),
)


def config_of(corpus: Corpus, run: Path, **options: Any) -> RunConfig:
    sharing = {"mode": "related", "every": 7, "threshold": 1.0, "samples": 64} | options
    return RunConfig.model_validate(tiny_settings(corpus, run) | {"sharing": sharing})


@pytest.fixture(scope="module")
def parted(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose tasks parted before step 8."""
    config = config_of(english, tmp_path_factory.mktemp("related") / "run")
    pretrain(config, Watcher())
    return config.run


def test_tasks_go_where_the_last_decision_puts_them() -> None:
    assert TABLE.route(9).tolist() == [0, 0, 0, 0]
    assert TABLE.route(10).tolist() == [0, 1, 1, 1]
    assert TABLE.beginning_at(10) == {"b": ""}
    assert TABLE.beginning_at(11) == {}


def test_a_part_copies_the_branch_that_it_leaves() -> None:
    table = replace(TABLE, decisions=(*TABLE.decisions, Grouping(20, ("", "b", "c", "c"))))
    assert table.beginning_at(20) == {"c": "b"}
    assert table.begun_by(20) == ["b", "c"]


def test_a_task_that_joined_later_is_on_the_trunk() -> None:
    table = replace(TABLE, groups=(*TABLE.groups, "e"))
    assert table.route(10).tolist() == [0, 1, 1, 1, 0]


def test_every_decision_is_logged_with_its_numbers(parted: Path) -> None:
    lines = logged_lines(parted, "sharing")
    assert [line["step"] for line in lines] == [5, 7]
    first, second = lines
    # The tasks of the second stage have not been trained yet.
    assert set(first["groups"].values()) == {"trunk"}
    assert first["cosine"] == {}
    assert second["groups"] == dict(zip(TASKS, ["trunk", *TASKS[1:]], strict=True))
    cosines = [value for others in second["cosine"].values() for value in others.values()]
    assert len(cosines) == 6
    assert all(cosine < 1 for cosine in cosines)
    assert all(agree > 0.2 for agree in second["reliability"].values())


def test_below_the_threshold_nothing_parts(english: Corpus, tmp_path: Path) -> None:
    config = config_of(english, tmp_path / "run", threshold=-1.0)
    pretrain(config, Watcher())
    lines = logged_lines(config.run, "sharing")
    assert {group for line in lines for group in line["groups"].values()} == {"trunk"}
    tensors = final_tensors(config.run)
    # Branches exist from the first step, and nothing has moved them.
    assert any(name.startswith("branches.capitalization.") for name in tensors)
    assert not any(name.startswith("branches.") and "|" in name for name in tensors)


def test_a_part_begins_with_the_weights_and_moments_of_the_trunk(parted: Path) -> None:
    tensors = final_tensors(parted)
    steps = {
        name.partition("|")[0]: int(value)
        for name, value in tensors.items()
        if name.endswith("|step")
    }
    own = "attention.self.query.weight"
    for task in TASKS[1:]:
        # The trunk had taken seven steps, and five are left.
        assert 7 < steps[f"branches.{task}.0.{own}"] <= 12
        branch, trunk = (
            tensors[f"branches.{task}.0.{own}"],
            tensors[f"encoder.encoder.layer.1.{own}"],
        )
        assert 0 < float((branch - trunk).abs().max()) < 0.03


def part(config: RunConfig) -> str:
    """Be one worker."""
    pretrain(config, Watcher())
    return "done"


def test_workers_decide_alike(parted: Path, english: Corpus, tmp_path: Path) -> None:
    config = config_of(english, tmp_path / "run")
    assert together(part, config, folder=tmp_path, count=2) == ["done", "done"]
    for one, other in zip(
        logged_lines(parted, "sharing"), logged_lines(config.run, "sharing"), strict=True
    ):
        assert one["groups"] == other["groups"]
        assert one["reliability"] == pytest.approx(other["reliability"], abs=1e-3)


def test_an_opened_run_scores_with_the_parts_that_it_had(parted: Path, english: Corpus) -> None:
    scores = evaluate_run(parted, None)["heldout"]
    logged = logged_lines(parted, "heldout")[-1]["tasks"]
    for name, score in logged.items():
        assert scores[name]["loss"] == pytest.approx(score["loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("step", "due"), [(0, False), (5, True), (7, True), (8, False), (12, False)]
)
def test_decisions_are_due_at_stages_and_at_fixed_steps(
    english: Corpus, tmp_path: Path, step: int, due: bool
) -> None:
    run = Run(config_of(english, tmp_path / "run"))
    assert split_is_due(run, run.sharing, step) == due
    decided = replace(run.sharing, decisions=(Grouping(step, ("", "", "")),))
    assert not split_is_due(run, decided, step)


def test_a_checkpoint_keeps_the_decisions() -> None:
    bare = replace(TABLE, decisions=())
    assert with_decisions(bare, sharing_state(TABLE)) == TABLE
    assert with_decisions(bare, {}) == bare


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        ([{"step": 3, "groups": ["", "x", "", ""]}], "names groups .*'x'.* at step 3"),
        ([{"step": 3, "groups": [""] * 9}], "at step 3"),
        ([{"step": "a", "groups": []}], "step"),
        ({"step": 3}, "decisions"),
    ],
)
def test_decisions_of_another_run_are_refused(decisions: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_decisions(TABLE, {"decisions": decisions})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 3}, r"sharing.layers 3 is more than the encoder has; accepted are 1 to 2"),
        ({"threshold": 2.0}, r"threshold"),
        ({"every": 0}, r"every"),
        ({"groups": "task"}, r"unknown key 'groups'"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    english: Corpus, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _ = Run(config_of(english, tmp_path / "run", **options)).sharing


def test_one_task_has_nobody_to_part_from(english: Corpus, tmp_path: Path) -> None:
    config = config_of(english, tmp_path / "run")
    alone = config.model_copy(update={"stages": config.stages[:1]})
    with pytest.raises(UserError, match=r"'related' compares tasks.*alone; accepted: hard"):
        _ = Run(alone).sharing
