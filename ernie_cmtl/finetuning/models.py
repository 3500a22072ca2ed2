"""Encoder and tokenizer that a fine-tuning starts from, with a new head."""

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kinds.kind import Kind
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.model.pretrained import check_index


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Open the tokenizer of a model.

    Raises:
        UserError: There is none, or it is of a kind that does not say where its tokens stand in the
            text.
    """
    # What the library raises about a folder or name without tokenizer has no common type.
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            model, trust_remote_code=False
        )
    except Exception as error:
        raise UserError(
            f"model {model!r} has no tokenizer that can be loaded: {_first_line(error)}"
        ) from error
    # The library makes up one without a vocabulary for a folder that has a model only.
    if len(tokenizer) <= len(tokenizer.all_special_ids) + 1:
        raise UserError(
            f"model {model!r} has no tokenizer: its vocabulary holds {len(tokenizer)} tokens"
        )
    if not tokenizer.is_fast:
        raise UserError(
            f"model {model!r} has a slow tokenizer, which does not tell where tokens stand; a "
            "fast one is needed"
        )
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return tokenizer


def load_config(model: str, kind: Kind) -> PretrainedConfig:
    """Open the config of a model and give it the head of a kind.

    Raises:
        UserError: There is no such model.
    """
    try:
        config: Any = AutoConfig.from_pretrained(model, trust_remote_code=False)
        check_index(model)
    except Exception as error:
        raise UserError(f"model {model!r} cannot be loaded: {_first_line(error)}") from error
    config.num_labels = kind.outputs
    if kind.labels:
        config.id2label = dict(enumerate(kind.labels))
        config.label2id = {name: number for number, name in enumerate(kind.labels)}
    # Both may name code that the library would fetch.
    config._attn_implementation = config.quantization_config = None
    del config.quantization_config
    checked: PretrainedConfig = config
    return checked


def new_model(model: str, kind: Kind, recipe: Recipe, seed: int) -> PreTrainedModel:
    """Load an encoder, or make a random one of its size, with a head that follows from the seed.

    Raises:
        UserError: It has no safetensors weights, or no model of this kind.
    """
    config = load_config(model, kind)
    set_seed(seed)
    try:
        if recipe.init == "random":
            made: PreTrainedModel = kind.head.from_config(
                config, trust_remote_code=False, dtype=torch.float32
            )
        else:
            options = {"config": config, "use_safetensors": True, "dtype": torch.float32}
            made = kind.head.from_pretrained(model, trust_remote_code=False, **options)
    except Exception as error:
        raise UserError(
            f"model {model!r} cannot be fine-tuned for {recipe.kind}: {_first_line(error)}"
        ) from error
    return made


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
