"""Write an export: a format fills the folder, a card describes it, and the result is checked."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from ernie_cmtl.errors import UserError
from ernie_cmtl.export.card import CardFacts, card
from ernie_cmtl.export.folder import export_folder
from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.model.stock_classes import StockClasses
from ernie_cmtl.plugins import Plugins
from ernie_cmtl.settings import validate

ABOUT = "pretraining.json"


class FormatOptions(BaseModel):
    """Options of a format; one that has any adds them by subclassing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ExportFormat(ABC):
    """One format: a file of `export/formats`, or a plug-in; its name is the name of the file."""

    Options: ClassVar[type[FormatOptions]] = FormatOptions
    takes_heads: ClassVar[bool] = False
    """Can it hold a head of the run in the place of the one for masked tokens."""

    def __init__(self, options: FormatOptions) -> None:
        self.options = options

    def prepare(self) -> None:  # noqa: B027
        """Look at what the format needs, before a run is opened.

        Raises:
            UserError: A library or a file that an option names is missing.
        """

    def folds_task(self, family: StockClasses) -> bool:
        """Tell whether the export takes no task ids, so that one row of the task embedding is
        folded into the weights.
        """
        return True

    def check(self, trained: TrainedModel) -> None:  # noqa: B027
        """Refuse a model that the format cannot hold, before anything is written.

        Raises:
            UserError: It cannot.
        """

    @abstractmethod
    def write(self, folder: Path, trained: TrainedModel) -> None:
        """Write the model into an empty folder."""

    @abstractmethod
    def verify(self, folder: Path, trained: TrainedModel) -> dict[str, Any]:
        """Open what was written as its users do, compare it with the model, and return what was
        measured, for the result of the verb.

        Raises:
            UserError: It is far from the model because of an option.
            RuntimeError: It is not the model that was exported.
        """

    def about(self) -> dict[str, Any]:
        """Return what `pretraining.json` says of the format, once the model is written."""
        return {}

    @abstractmethod
    def facts(self, trained: TrainedModel) -> CardFacts:
        """Return what the card says of the format, once the model is written."""


EXPORT_FORMATS = Plugins(
    ExportFormat,  # type: ignore[type-abstract]
    "export format",
    package="ernie_cmtl.export.formats",
    group="ernie_cmtl.export_formats",
)


def open_format(name: str, settings: Sequence[str] = ()) -> ExportFormat:
    """Return a format with its options.

    name: with hyphens or underscores; settings: options as `key=value`.

    Raises:
        UserError: The format is unknown, an option is unknown or not accepted, or a library is
            missing.
    """
    # The name of a file of Python has no hyphen.
    found = EXPORT_FORMATS.find(name.replace("-", "_"))
    if settings and not found.Options.model_fields:
        raise UserError(f"--format {name} takes no options, but was given {' '.join(settings)}")
    chosen = found(validate(found.Options, {}, settings, f"--format {name}"))
    chosen.prepare()
    return chosen


def write_export(
    name: str,
    trained: TrainedModel,
    output: Path,
    verified: bool = True,
    chosen: ExportFormat | None = None,
) -> dict[str, Any]:
    """Write a model in a format, with a card; returns path, format, what the format says
    of itself and what was measured.

    verified: load the result and compare it with the model before it takes the place of an older
    export. chosen: the format, opened with its options; None: it has none.

    Raises:
        UserError: The format is unknown or does not hold this model, the output folder holds what
            no export wrote, or another process writes there.
        RuntimeError: The result is not the model that was exported.
    """
    chosen = chosen or open_format(name)
    chosen.check(trained)
    with export_folder(output) as folder:
        chosen.write(folder, trained)
        about = json.dumps(trained.about | chosen.about(), indent=1, ensure_ascii=False)
        (folder / ABOUT).write_text(about, encoding="utf-8")
        text = card(output.absolute().name, trained, chosen.facts(trained))
        (folder / "README.md").write_text(text, encoding="utf-8")
        measured = chosen.verify(folder, trained) if verified else {}
    return {"path": str(output), "format": name, **chosen.about(), **measured}
