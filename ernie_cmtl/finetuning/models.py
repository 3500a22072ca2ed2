"""Encoder and tokenizer that a fine-tuning starts from, with a new head."""

import torch
from transformers import (
    AutoModel,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kinds.kind import Kind
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.pretrained.config import read_config
from ernie_cmtl.pretrained.reasons import reason
from ernie_cmtl.pretrained.tokenizer import open_tokenizer
from ernie_cmtl.pretrained.weights import load_weights, new_weights

_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
"""Endings of the classes of fine-tuned models."""


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
    names = kind.output_names
    config.num_labels = kind.outputs
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    config.problem_type = kind.problem_type
    return config


def new_model(model: str, kind: Kind, recipe: Recipe, seed: int) -> PreTrainedModel:
    """Load an encoder, or make a random one of its size, with a head that follows from the seed.

    Raises:
        UserError: It has no safetensors weights, or no model of this kind.
    """
    config = load_config(model, kind)
    tuned = any(name.endswith(_HEADS) for name in config.architectures or ())
    set_seed(seed)
    if recipe.init != "random" and not tuned:
        made, _ = load_weights(kind.head, model, f"model {model!r}", config, dtype=torch.float32)
        return made
    try:
        made = new_weights(kind.head, config, dtype=torch.float32)
    except Exception as error:
        raise UserError(
            f"model {model!r} cannot be fine-tuned for {recipe.kind}: {reason(error)}"
        ) from error
    if recipe.init != "random":
        # The head of its earlier fine-tuning answered another question, or has seen the answers.
        encoder, _ = load_weights(AutoModel, model, f"model {model!r}", config, dtype=torch.float32)
        made.base_model.load_state_dict(encoder.state_dict(), strict=False)
    return made


def longest_input(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig
) -> int:
    """Return the most tokens of an input that the recipe, the tokenizer and the encoder allow."""
    positions = getattr(config, "max_position_embeddings", None) or recipe.maximum_length
    return min(recipe.maximum_length, tokenizer.model_max_length, positions)
