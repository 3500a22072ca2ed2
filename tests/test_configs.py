"""Every configuration that ships is one that a person can start."""

from pathlib import Path

import pytest
import yaml

from ernie_cmtl.config import RunConfig, TaskConfig, load_run_config
from ernie_cmtl.registry import find_task
from ernie_cmtl.scheduling.stages import StageTable

ROOT = Path(__file__).parents[1]
FOUND = sorted((ROOT / "configs").rglob("*.y*ml"))
TASK_FILES = {path.stem for path in (ROOT / "pretrain_tasks").glob("*.py")} - {"__init__"}

every_config = pytest.mark.parametrize("path", FOUND, ids=lambda path: str(path.relative_to(ROOT)))


def task_types(config: RunConfig) -> dict[str, tuple[str, TaskConfig]]:
    """Return instance -> (file that makes its examples, its settings)."""
    listed = {name: config.tasks.get(name, TaskConfig()) for stage in config.stages for name in stage.budgets}
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
def test_a_config_says_where_it_writes_and_stays_inside_the_checkout(path: Path) -> None:
    """A path of one person's machine in a shipped config would not work anywhere else."""
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in ("run", "corpus"):
        assert not Path(written[key]).is_absolute()
        assert ".." not in Path(written[key]).parts


@every_config
def test_the_first_lines_of_a_config_say_what_it_is_for(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
