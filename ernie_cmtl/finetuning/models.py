"""Encoder and tokenizer that a fine-tuning starts from, with a new head."""

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kinds.kind import Kind
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.pretrained.config import read_config
from ernie_cmtl.pretrained.reasons import reason
from ernie_cmtl.pretrained.tokenizer import open_tokenizer
from ernie_cmtl.pretrained.weights import load_weights, new_weights


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Open the tokenizer of a model.

    Raises:
        UserError: There is none, or it is of a kind that does not say where its tokens stand in the
            text.
    """
    tokenizer = open_tokenizer(model, "labels are aligned by the places of tokens in the text")
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return tokenizer


def load_config(model: str, kind: Kind) -> PretrainedConfig:
    """Open the config of a model and give it the head of a kind.

    Raises:
        UserError: There is no such model.
    """
    config = read_config(model, f"model {model!r}")
    config.num_labels = kind.outputs
    if kind.labels:
        config.id2label = dict(enumerate(kind.labels))
        config.label2id = {name: number for number, name in enumerate(kind.labels)}
    return config


def new_model(model: str, kind: Kind, recipe: Recipe, seed: int) -> PreTrainedModel:
    """Load an encoder, or make a random one of its size, with a head that follows from the seed.

    Raises:
        UserError: It has no safetensors weights, or no model of this kind.
    """
    config = load_config(model, kind)
    set_seed(seed)
    if recipe.init != "random":
        made, _ = load_weights(kind.head, model, f"model {model!r}", config, dtype=torch.float32)
        return made
    try:
        return new_weights(kind.head, config, dtype=torch.float32)
    except Exception as error:
        raise UserError(
            f"model {model!r} cannot be fine-tuned for {recipe.kind}: {reason(error)}"
        ) from error
