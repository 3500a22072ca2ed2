"""A suite of runs to compare: configurations that differ in one thing and train on equal tokens."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from pydantic import BaseModel, ConfigDict, Field

from ernie_cmtl.errors import UserError
from ernie_cmtl.settings import validate

SCALES = Path(__file__).parent / "suites" / "scales.yaml"
Settings = dict[str, Any]
_NOT_OF_A_RUN = ("steps", "finetune")


class Suite(BaseModel):
    """The file of a suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    baseline: str
    """Cell that the others are compared with."""
    heldout: dict[str, dict[str, Settings]] = Field(min_length=1)
    """Name of a view -> task -> options of the held-out examples that all cells answer, whatever
    they were trained on. A view reports the tasks that it names.
    """
    common: Settings = {}
    """Settings of every cell, over those of the scale."""
    cells: dict[str, Settings] = Field(min_length=1)
    """Name of a cell -> its settings. A preset has no budgets: the tasks of a cell share the steps
    equally.
    """


@dataclass(frozen=True)
class Cell:
    """One run of a suite."""

    name: str
    seed: int
    settings: Settings
    """A run's configuration."""
    heldout: Mapping[str, list[str]]
    """View -> settings for the verb evaluate."""
    finetune: list[str]
    """Settings for the verb finetune, over those of any recipe."""

    @property
    def label(self) -> str:
        """Name of its files."""
        return f"{self.name}-seed{self.seed}"


def load_suite(path: Path) -> Suite:
    """Read a suite.

    Raises:
        UserError: There is no such file, a key is unknown, or the baseline is no cell.
    """
    suite = validate(Suite, _read(path), (), str(path))
    if suite.baseline not in suite.cells:
        raise UserError(
            f"{path}: baseline {suite.baseline!r} is no cell; cells are {', '.join(suite.cells)}"
        )
    return suite


def load_scale(name: str) -> Settings:
    """Return the settings of a scale, with its `steps`, and under `finetune` settings of that
    verb.
    """
    scales = _read(SCALES)
    if name not in scales:
        raise UserError(f"unknown scale {name!r}; accepted: {', '.join(scales)}")
    return dict(scales[name])


def make_cell(
    suite: Suite, name: str, seed: int, scale: Settings, steps: int, output: Path, corpus: Path
) -> Cell:
    """Put the configuration of one cell together."""
    merged = OmegaConf.merge(
        *(
            {key: scale[key] for key in scale if key not in _NOT_OF_A_RUN},
            suite.common,
            suite.cells[name],
        )
    )
    settings: Any = OmegaConf.to_container(merged)
    settings |= {
        "run": str(output / "runs" / f"{name}-seed{seed}"),
        "corpus": str(corpus),
        "seed": seed,
    }
    tasks = list(settings["preset"]["tasks"])
    shares = [steps // len(tasks) + (number < steps % len(tasks)) for number in range(len(tasks))]
    settings["preset"] = deepcopy(settings["preset"]) | {
        "tasks": {task: {"budget": share} for task, share in zip(tasks, shares, strict=True)}
    }
    heldout = {
        view: [
            word
            for task, options in asked.items()
            if task in tasks
            for word in _words(f"tasks.{task}", options)
        ]
        for view, asked in suite.heldout.items()
        if set(asked) & set(tasks)
    }
    return Cell(name, seed, settings, heldout, list(scale.get("finetune", [])))


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"no file {path}")
    return OmegaConf.to_container(OmegaConf.load(path))


def _words(key: str, value: Any) -> Iterator[str]:
    """Yield nested options as words of a command line."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _words(f"{key}.{name}", inner)
    else:
        yield f"{key}={str(value).lower() if isinstance(value, bool) else value}"
