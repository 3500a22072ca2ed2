"""Weights of ErnieForMaskedLM -> BertForMaskedLM: without task embedding both compute the same."""

from collections.abc import Mapping

from torch import Tensor
from transformers import BertConfig, ErnieConfig

from ernie_cmtl.model.task_embedding import fold_task_row

_OF_ERNIE = ("model_type", "use_task_id", "task_type_vocab_size", "transformers_version")


def config_of(ernie: ErnieConfig) -> BertConfig:
    """Return the config of BertForMaskedLM with the sizes of an Ernie config."""
    settings = {name: value for name, value in ernie.to_dict().items() if name not in _OF_ERNIE}
    return BertConfig(**settings | {"architectures": ["BertForMaskedLM"]})


def state_of(ernie: Mapping[str, Tensor], task_row: int) -> dict[str, Tensor]:
    """Return weights that are named as in ErnieForMaskedLM under BERT's names, with one row of the
    task embedding added to the segments.
    """
    folded = fold_task_row(ernie, task_row)
    return {name.replace("ernie.", "bert.", 1): value for name, value in folded.items()}
