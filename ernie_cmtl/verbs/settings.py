"""The verb settings: every setting with its type, default and meaning."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.finetuning.kinds import KINDS
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.model.sharing import SHARING_MODES
from ernie_cmtl.scheduling.presets import Preset
from ernie_cmtl.settings_reference import Setting, settings_of
from ernie_cmtl.task import TaskOptions
from ernie_cmtl.task_registry import find_task, task_names
from ernie_cmtl.training.loss_weighting import LOSS_WEIGHTINGS

_OF_RUN = "pretrain, plan, bench, extend: the YAML file of a run, and key.sub=value"
_OF_PREPARE = "prepare: key.sub=value after the inputs"
_OF_RECIPE = "finetune: the YAML file of a recipe, and key.sub=value"


def settings(prefix: str = "") -> dict[str, list[dict[str, str]]]:
    """Return every setting by the part that it belongs to; prefix: those whose name begins so.

    Raises:
        UserError: No setting begins so.
    """
    found = {
        part: [vars(setting) for setting in listed if setting.name.startswith(prefix)]
        for part, listed in _parts()
    }
    kept = {part: listed for part, listed in found.items() if listed}
    if not kept:
        first = dict.fromkeys(
            setting.name.split(".")[0] for _, listed in _parts() for setting in listed
        )
        raise UserError(f"no setting begins with {prefix!r}; {choices(prefix, first, 'they are')}")
    return kept


def _parts() -> Iterator[tuple[str, list[Setting]]]:
    """Yield each part of the settings with what it holds."""
    yield _OF_RUN, [*settings_of(RunConfig)]
    yield "preset: in place of stages", [*settings_of(Preset, "preset")]
    for mode, options in _options(
        {name: SHARING_MODES.find(name).Options for name in SHARING_MODES.names()}
    ):
        yield f"sharing.mode {mode}", [*settings_of(options, "sharing")]
    for rule, options in _options(
        {name: LOSS_WEIGHTINGS.find(name).Options for name in LOSS_WEIGHTINGS.names()}
    ):
        yield f"loss_weighting.rule {rule}", [*settings_of(options, "loss_weighting")]
    common = [*settings_of(TaskOptions, "tasks.NAME")]
    yield "every task", common
    for task, options in _options({name: find_task(name).Options for name in task_names()}):
        own = [one for one in settings_of(options, "tasks.NAME") if one not in common]
        if own:
            yield f"task {task}", [replace(one, name=_of_task(one.name, task)) for one in own]
    yield _OF_PREPARE, [*settings_of(PrepareConfig)]
    yield _OF_RECIPE, [*settings_of(Recipe)]
    for kind, options in _options({name: found.Options for name, found in KINDS.items()}):
        yield f"recipe of kind {kind}", [*settings_of(options, "options")]


def _of_task(name: str, task: str) -> str:
    return name.replace("tasks.NAME", f"tasks.{task}", 1)


def _options(models: Mapping[str, type[BaseModel]]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield those that have any settings, in the order of their names."""
    return ((name, models[name]) for name in sorted(models) if models[name].model_fields)


def settings_page(found: Mapping[str, Any]) -> str:
    """Return settings as a page of Markdown."""
    lines = ["# Settings", "", _INTRODUCTION, ""]
    for part, listed in found.items():
        lines += [f"## {part}", "", "| setting | type | default | meaning |", "|---|---|---|---|"]
        for one in listed:
            cells = (f"`{one['name']}`", one["kind"], f"`{one['default']}`", one["meaning"])
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


_INTRODUCTION = """\
Every setting with its type, default and meaning. `ernie-cmtl settings --markdown` generates this
page. `ernie-cmtl settings optimizer` shows only the settings that begin with `optimizer`.

In YAML, `training.heldout.every` is the key `every` in `heldout` in `training`. On the command
line, write `training.heldout.every=500`. `NAME` is a name of your choice, such as a task's; `N` is
an index of a list, from 0. An unknown key is an error that lists the accepted keys."""
