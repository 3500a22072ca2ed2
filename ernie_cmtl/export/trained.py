"""What an export is made of."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.stock_classes import StockWeights


@dataclass(frozen=True)
class Provenance:
    """What the card says of where a model comes from; Hub names where they are names."""

    language: str | None = None
    license: str | None = None
    datasets: tuple[str, ...] = ()
    base_model: str | None = None


@dataclass(frozen=True)
class TrainedModel:
    """A model of a run, with what an export says of it."""

    model: MultiTaskModel
    """On the CPU."""
    tokenizer: PreTrainedTokenizerBase
    task_row: int
    """Row of the task embedding that is folded into the weights, where the exported class takes no
    task.
    """
    about: dict[str, Any]
    """Written to `pretraining.json`; the card shows `steps`, `stages`, `tasks` (name -> row of the
    task embedding), `losses` (`<instance>/<head>` -> held-out loss) and `losses_at_step`.
    """
    head: str | None = None
    """`<instance>/<head>` that is exported with the encoder; None: the encoder and the head for
    masked tokens.
    """
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def view(self) -> str:
        """Whose layers it has, where tasks have layers of their own."""
        return str(self.about.get("view", "trunk"))

    @property
    def tasks_of_view(self) -> list[str]:
        """Tasks that ran through these layers."""
        return list(self.about.get("tasks_of_view", self.about["tasks"]))

    @property
    def task(self) -> str:
        """Name of the task whose row is folded."""
        names = {row: task for task, row in self.about["tasks"].items()}
        return str(names.get(self.task_row, "-"))

    def without_tasks(self) -> StockWeights:
        """Return the encoder as a stock class that takes no task.

        Raises:
            UserError: Its family has no such class.
        """
        return self.model.family.without_tasks(self.model.vocabulary_head, self.task_row)

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files, with the longest sequence that the encoder takes."""
        self.tokenizer.model_max_length = self.model.family.config.maximum_positions
        self.tokenizer.save_pretrained(folder)
