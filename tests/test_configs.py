"""Every configuration that ships is one that a person can start."""

from pathlib import Path

import pytest
import yaml

from ernie_cmtl.config import RunConfig, TaskConfig, load_run_config
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.run.run import Run
from ernie_cmtl.scheduling.plan import Plan
from ernie_cmtl.scheduling.stages import StageTable
from ernie_cmtl.task_registry import find_task
from ernie_cmtl.training.learning_rate import learning_rate
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.models import save_bert
from tests.support.runs import Watcher

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "configs" / "finetune"
FOUND = sorted(path for path in (ROOT / "configs").rglob("*.y*ml") if RECIPES not in path.parents)
TASK_FILES = {path.stem for path in (ROOT / "pretrain_tasks").glob("*.py")} - {"__init__"}

every_config = pytest.mark.parametrize("path", FOUND, ids=lambda path: str(path.relative_to(ROOT)))


def task_types(config: RunConfig) -> dict[str, tuple[str, TaskConfig]]:
    """Return instance -> (file that makes its examples, its settings)."""
    listed = {
        name: config.tasks.get(name, TaskConfig())
        for stage in config.stages
        for name in stage.budgets
    }
    return {name: (settings.type or name, settings) for name, settings in listed.items()}


def test_the_quickstart_is_among_the_configs() -> None:
    assert ROOT / "configs" / "quickstart.yaml" in FOUND


@every_config
def test_a_config_loads_and_its_stage_table_adds_up(path: Path) -> None:
    config = load_run_config(path)
    table = StageTable(config.stages)
    by_task: dict[str, int] = {}
    for stage in config.stages:
        for task, budget in stage.budgets.items():
            assert budget > 0
            by_task[task] = by_task.get(task, 0) + budget
    assert table.totals == by_task
    assert table.steps == sum(by_task.values())


@every_config
def test_the_tasks_of_a_config_exist_and_take_its_options(path: Path) -> None:
    for kind, settings in task_types(load_run_config(path)).values():
        assert kind in TASK_FILES
        find_task(kind).Options.model_validate(settings.options)


@every_config
def test_every_step_of_a_config_has_its_shares_and_its_rows(path: Path) -> None:
    config = load_run_config(path)
    table = StageTable(config.stages)
    plan = Plan(table, config.mode, config.seed)
    for stage, end, data in zip(table.stages, table.ends, config.stage_data, strict=True):
        for step in (end - stage.steps, end - 1):
            shares = plan(step)
            assert sum(shares) == pytest.approx(1)
            assert {task for task, share in zip(table.tasks, shares, strict=True) if share} <= set(
                stage.budgets
            )
        assert data.rows == data.groups * data.rows_per_group
        # More at once asks for a large card, as those of `bench` for one do.
        assert (
            data.rows_per_group * data.row_length
            <= (128 if path.stem.startswith("h200") else 16) * 512
        )
    rates = [learning_rate(step, table.ends, config.optimizer) for step in range(table.steps)]
    assert max(rates) == pytest.approx(config.optimizer.learning_rate)
    assert config.optimizer.warmup_steps < table.stages[0].steps


CORPORA = {"mt_dnn": "judged", "sentiment_and_topics": "tables", "questions_and_chunks": "tables"}
"""Configuration -> the fixture of a corpus that has its tables."""


@every_config
def test_the_tasks_of_a_config_are_those_of_a_language(
    path: Path, request: pytest.FixtureRequest
) -> None:
    name = CORPORA.get(path.stem, "chinese" if path.stem.endswith("_zh") else "english")
    corpus: Corpus = request.getfixturevalue(name)
    run = Run(load_run_config(path, [f"corpus={corpus.folder}"]))
    assert [instance.name for instance in run.instances] == list(run.table.tasks)


@pytest.mark.parametrize("name", ["ernie2_base_en", "ernie2_base_zh", "ernie2_large_en"])
def test_the_configs_of_the_paper_have_its_batch_and_its_stage_rule(name: str) -> None:
    config = load_run_config(ROOT / "configs" / f"{name}.yaml")
    assert {data.rows * data.row_length for data in config.stage_data} == {393_216}
    tasks = StageTable(config.stages).tasks
    unit = 10_000
    for number, stage in enumerate(config.stages, 1):
        assert stage.budgets == dict.fromkeys(tasks[: number - 1], unit) | {
            tasks[number - 1]: (number + 1) * unit
        }
    # As many groups as there were cards: a single one takes them in turn.
    config.check_workers(1)
    config.check_workers(config.data.groups)


@pytest.mark.parametrize(
    "name",
    [
        *("quickstart", "quickstart_zh", "small_en", "domain_adaptation"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("small_zh", "modern_small_en", "modern_small_zh")
        ),
    ],
)
def test_a_config_that_fits_a_laptop_runs(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    corpus: Corpus = request.getfixturevalue("chinese" if name.endswith("_zh") else "english")
    overrides = [
        f"run={tmp_path / 'run'}",
        f"corpus={corpus.folder}",
        "data.rows=4",
        "data.rows_per_group=2",
    ]
    overrides += ["training.heldout.samples=1"]
    if name == "domain_adaptation":
        save_bert(corpus, tmp_path / "bert", max_position_embeddings=512)
        overrides += [f"encoder.init_from={tmp_path / 'bert'}"]
    config = load_run_config(ROOT / "configs" / f"{name}.yaml", overrides)
    few = [
        stage.model_copy(update={"budgets": dict.fromkeys(stage.budgets, 1)})
        for stage in config.stages
    ]
    result = pretrain(config.model_copy(update={"stages": few}), Watcher())
    assert result["finished"]
    assert {name.partition("/")[0] for name in result["losses"]} == set(StageTable(few).tasks)
    assert all(samples > 0 for samples in result["samples"].values())


@pytest.mark.parametrize("name", ["sentiment_and_topics", "questions_and_chunks"])
@pytest.mark.parametrize("preset", ["continual", "multitask", "continual_multitask"])
def test_a_config_of_labelled_tasks_runs_with_each_preset(
    name: str, preset: str, tables: Corpus, tmp_path: Path
) -> None:
    overrides = [
        *(f"run={tmp_path / 'run'}", f"corpus={tables.folder}", f"preset.name={preset}"),
        *("preset.budget=3", "optimizer.warmup_steps=1", "training.heldout.every=2"),
        *("data.row_length=64", "data.rows=2", "data.rows_per_group=2"),
    ]
    config = load_run_config(ROOT / "configs" / f"{name}.yaml", overrides)
    result = pretrain(config, Watcher())
    first, second = StageTable(config.stages).tasks
    stages = [stage.budgets for stage in config.stages]
    assert (
        stages
        == {
            "continual": [{first: 3}, {second: 3}],
            "multitask": [{first: 3, second: 3}],
            "continual_multitask": [{first: 2}, {first: 1, second: 3}],
        }[preset]
    )
    assert result["finished"]
    scores = {key.partition("/")[0]: score for key, score in result["heldout"].items()}
    assert {*scores} == {first, second}
    assert all(0 < score["majority"] < 1 and score["labels"] for score in scores.values())


@every_config
def test_a_config_says_where_it_writes_and_stays_inside_the_checkout(path: Path) -> None:
    """A path of one person's machine in a shipped config would not work anywhere else."""
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in ("run", "corpus"):
        assert not Path(written[key]).is_absolute()
        assert ".." not in Path(written[key]).parts


@every_config
def test_the_first_lines_of_a_config_say_what_it_is_for(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
