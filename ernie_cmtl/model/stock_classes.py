"""Weights of an encoder from and to stock classes of transformers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from ernie_cmtl.errors import UserError
from ernie_cmtl.head_kinds import StockHead
from ernie_cmtl.head_kinds.vocabulary import VocabularyHead
from ernie_cmtl.model.encoder_config import EncoderConfig


class StockWeights(NamedTuple):
    """An encoder as a stock class of transformers."""

    config: PretrainedConfig
    """Of its class for masked tokens."""
    state: dict[str, Tensor]
    """Weights under that class's names, float32, with those that only the bare encoder class
    has.
    """


class StockClasses(ABC):
    """How the encoders of a family start from stock classes and leave as them."""

    config: EncoderConfig

    @property
    @abstractmethod
    def task_rows(self) -> tuple[nn.Parameter, ...]:
        """Rows of the task embedding; none where the encoder has no such embedding."""

    @classmethod
    @abstractmethod
    def read_checkpoint(cls, config: EncoderConfig) -> tuple[Mapping[str, Tensor], list[str]]:
        """Return the weights of the checkpoint that an encoder starts from, and the names that it
        lacks.

        Raises:
            UserError: It is no such checkpoint, has no safetensors weights, or other ones than its
                config says.
        """

    @abstractmethod
    def load_checkpoint(self, weights: Mapping[str, Tensor], head: VocabularyHead) -> list[str]:
        """Copy what `read_checkpoint` returned into encoder and vocabulary head; return the names
        that stay freshly initialised.
        """

    @property
    @abstractmethod
    def folds_task(self) -> bool:
        """Does the stock class take no task, so that one row of the task embedding is folded into
        its weights.
        """

    @abstractmethod
    def stock_config(self) -> PretrainedConfig:
        """Return the config of the stock class for masked tokens that is exactly this encoder."""

    @abstractmethod
    def stock_state(self, head: VocabularyHead, task_row: int) -> dict[str, Tensor]:
        """Return all weights under that class's names, float32, with those that only the bare
        encoder class has.

        task_row: the row that is folded, where one is.
        """

    @abstractmethod
    def stock_model(self, head: VocabularyHead, task_row: int) -> PreTrainedModel:
        """Return that class with the weights of encoder and head, ready to score."""

    def without_tasks(self, head: VocabularyHead, task_row: int) -> StockWeights:
        """Return the encoder as a stock class that takes no task, with one row of the task
        embedding folded into the weights.

        Raises:
            UserError: The family has no such class.
        """
        if self.folds_task or not self.task_rows:
            return StockWeights(self.stock_config(), self.stock_state(head, task_row))
        raise UserError(
            f"encoder.architecture {self.config.architecture!r} has no class of transformers "
            "without task ids, which this export needs; export with --format hf"
        )

    def stock_classifier(self, kind: StockHead, linear: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a linear head under the names of the stock class for such heads.

        linear: `weight` [classes, hidden] and `bias` [classes].
        """
        return {f"classifier.{name}": value for name, value in linear.items()}
