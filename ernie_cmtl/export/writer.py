"""Write an export: a format fills the folder, a card describes it, and the result is checked."""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ernie_cmtl.export.folder import export_folder
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.plugins import Plugins

ABOUT = "pretraining.json"
_CARD = """---
library_name: transformers
tags: [{architecture}, fill-mask, continual-multi-task-pretraining]
---

# {name}

An encoder of {layers} layers x {hidden}, pretrained by continual multi-task learning with
`ernie_cmtl`: {steps} steps over the stages {stages}.{view}{usage}

| row | task | held-out loss{measured} |
|---|---|---|
{rows}
"""


_VIEW = """

Tasks of this run have layers of their own. The export holds the view `{view}`, the layers of
{tasks}; `export --view NAME` writes another one.

"""


@dataclass(frozen=True)
class TrainedModel:
    """What an export is made of."""

    model: MultiTaskModel
    """On the CPU."""
    tokenizer: PreTrainedTokenizerBase
    task_row: int
    """Row of the task embedding that is folded into the weights, where the stock class of the
    encoder takes no task.
    """
    about: dict[str, Any]
    """Written to `pretraining.json`; the card shows `steps`, `stages`, `tasks` (name -> row of the
    task embedding), `losses` (`<instance>/<head>` -> held-out loss) and `losses_at_step`.
    """

    @property
    def view(self) -> str:
        """Whose layers it has, where tasks have layers of their own."""
        return str(self.about.get("view", "trunk"))

    @property
    def tasks_of_view(self) -> list[str]:
        """Tasks that ran through these layers."""
        return list(self.about.get("tasks_of_view", self.about["tasks"]))


class ExportFormat(ABC):
    """One format: a file of `export/formats`, or a plug-in; its name is the name of the file."""

    @abstractmethod
    def write(self, folder: Path, trained: TrainedModel) -> None:
        """Write the model into an empty folder."""

    @abstractmethod
    def verify(self, folder: Path, trained: TrainedModel) -> dict[str, Any]:
        """Open what was written as its users do, compare it with the model, and return what was
        measured, for the result of the verb.

        Raises:
            RuntimeError: It is not the model that was exported.
        """

    @abstractmethod
    def usage(self, trained: TrainedModel) -> str:
        """Return the paragraphs of the card that say how to load the model, in Markdown."""


EXPORT_FORMATS = Plugins(
    ExportFormat,  # type: ignore[type-abstract]
    "export format",
    package="ernie_cmtl.export.formats",
    group="ernie_cmtl.export_formats",
)


def write_export(
    format: str, trained: TrainedModel, output: Path, verified: bool = True
) -> dict[str, Any]:
    """Write a model in a format, with a card; returns path, format and what was measured.

    verified: load the result and compare it with the model before it takes the place of an older
    export.

    Raises:
        UserError: The format is unknown, or the output folder holds what no export wrote, or
            another process writes there.
        RuntimeError: The result is not the model that was exported.
    """
    chosen = EXPORT_FORMATS.find(format)()
    with export_folder(output) as folder:
        chosen.write(folder, trained)
        about = json.dumps(trained.about, indent=1, ensure_ascii=False)
        (folder / ABOUT).write_text(about, encoding="utf-8")
        card = _card(output.absolute().name, trained, chosen.usage(trained))
        (folder / "README.md").write_text(card, encoding="utf-8")
        measured = chosen.verify(folder, trained) if verified else {}
    return {"path": str(output), "format": format, **measured}


def _card(name: str, trained: TrainedModel, usage: str) -> str:
    about, config = trained.about, trained.model.family.config
    rows = []
    for task, row in about["tasks"].items():
        losses = ", ".join(
            f"{key}: {loss:.3f}"
            for key, loss in about["losses"].items()
            if key.startswith(f"{task}/")
        )
        rows.append(f"| {row} | {task} | {losses or '-'} |")
    step = about["losses_at_step"]
    view, users = trained.view, trained.tasks_of_view
    return _CARD.format(
        name=name,
        architecture=config.architecture,
        layers=config.layers,
        hidden=config.hidden_size,
        steps=about["steps"],
        stages=", ".join(about["stages"]),
        view=_VIEW.format(view=view, tasks=", ".join(users))
        if len(users) < len(about["tasks"]) or view != "trunk"
        else " ",
        usage=usage,
        measured="" if step in (None, about["steps"]) else f" at step {step}",
        rows="\n".join(rows),
    )
