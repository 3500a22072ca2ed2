"""Checkpoints of transformers that an encoder may start from."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForPreTraining,
    ErnieConfig,
    ErnieForPreTraining,
    JinaEmbeddingsV3Config,
    JinaEmbeddingsV3ForMaskedLM,
    JinaEmbeddingsV3Model,
)

from ernie_cmtl.errors import UserError
from ernie_cmtl.model.encoder_config import Positions
from ernie_cmtl.pretrained.config import read_settings
from ernie_cmtl.pretrained.reasons import reason
from ernie_cmtl.pretrained.weights import load_weights

_CONFIGS: dict[str, Any] = {
    "bert": BertConfig,
    "ernie": ErnieConfig,
    "jina_embeddings_v3": JinaEmbeddingsV3Config,
}
_CLASSES: dict[str, tuple[Any, ...]] = {
    "bert": (BertForPreTraining,),
    "ernie": (ErnieForPreTraining,),
    # No class has both the head and the pooler.
    "jina_embeddings_v3": (JinaEmbeddingsV3ForMaskedLM, JinaEmbeddingsV3Model),
}
_POSITIONS: dict[Positions, tuple[str, ...]] = {
    "learned": ("bert", "ernie"),
    "rotary": ("jina_embeddings_v3",),
}
"""Kinds of checkpoints whose positions are like those of the encoder."""
_KEPT = (
    *(
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_act",
    ),
    *(
        "max_position_embeddings",
        "type_vocab_size",
        "layer_norm_eps",
        "pad_token_id",
        "tie_word_embeddings",
    ),
    *("use_task_id", "task_type_vocab_size", "rope_parameters"),
)
"""What is taken from a config."""
_NEVER_READ = "cls.seq_relationship."
"""BERT's head for the next sentence."""


def pretrained_config(init_from: str, positions: Positions | None) -> Any:
    """Return the config of a checkpoint with learned or rotary positions, its sizes and nothing
    else; positions: settled.

    Raises:
        UserError: It cannot be loaded or is of another kind.
    """
    assert positions is not None, "the settings are settled"
    found = settings_of(init_from)
    kind = found.get("model_type")
    _check_kind(init_from, kind, positions)
    config = config_of(init_from, found, _CONFIGS[str(kind)], _KEPT)
    if positions == "rotary" and config.rope_parameters["rope_type"] != "default":
        raise UserError(
            f"init_from {init_from!r} has rotary positions of the type "
            f"{config.rope_parameters['rope_type']!r}; accepted: default"
        )
    return config


def _check_kind(init_from: str, kind: Any, positions: Positions) -> None:
    for other, kinds in _POSITIONS.items():
        if kind in kinds and other != positions:
            raise UserError(
                f"init_from {init_from!r} has {other} positions, and the encoder has {positions} "
                f"ones; set encoder.positions={other}, or start from another checkpoint"
            )
    if kind not in _POSITIONS[positions]:
        raise UserError(
            f"init_from {init_from!r} is a {kind!r} checkpoint; accepted with {positions} "
            f"positions: {', '.join(_POSITIONS[positions])}"
        )


def checkpoint_weights(
    init_from: str, positions: Positions | None
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights of a checkpoint without their prefix, and the names that it lacks.

    Raises:
        UserError: It is of another kind, has no safetensors weights, or other ones than its config
            says.
    """
    config = pretrained_config(init_from, positions)
    weights, lacking = weights_of(init_from, config, _CLASSES[config.model_type])
    return weights, sorted(name for name in lacking if not name.startswith(_NEVER_READ))


def settings_of(init_from: str) -> dict[str, Any]:
    """Return what the config of a checkpoint says, without the keys that name code.

    Raises:
        UserError: There is no config, or a size in it is out of bounds.
    """
    return read_settings(init_from, f"init_from {init_from!r}")


def config_of(
    init_from: str, settings: Mapping[str, Any], config_class: Any, kept: Iterable[str]
) -> Any:
    """Make a config of the library of those settings of a checkpoint that are kept.

    Raises:
        UserError: The library does not accept a value, or the checkpoint has an output embedding of
            its own.
    """
    # What the library raises about a value has no common type.
    try:
        config = config_class(**{name: settings[name] for name in kept if name in settings})
    except Exception as error:
        raise UserError(f"init_from {init_from!r} cannot be loaded: {reason(error)}") from error
    if not config.tie_word_embeddings:
        raise UserError(
            f"init_from {init_from!r} has an output embedding of its own; accepted are "
            "checkpoints that tie it"
        )
    return config


def weights_of(
    init_from: str, config: Any, classes: Iterable[Any]
) -> tuple[dict[str, Tensor], set[str]]:
    """Return the weights of a checkpoint without the prefix of the bare encoder, and the names that
    it lacks; classes: of the library, whose weights are taken together.

    Raises:
        UserError: It has no safetensors weights, or other ones than its config says.
    """
    weights: dict[str, Tensor] = {}
    lacking: set[str] = set()
    for kind in classes:
        model, missing = load_weights(kind, init_from, f"init_from {init_from!r}", config)
        prefix = model.base_model_prefix + "."
        lacking |= {name.removeprefix(prefix) for name in missing}
        weights |= {
            name.removeprefix(prefix): value
            for name, value in model.state_dict().items()
            if name not in missing
        }
    return weights, lacking


def fitted(found: Tensor, own: Tensor) -> Tensor:
    """Return a checkpoint's table with as many rows as ours: some checkpoints pad theirs beyond the
    tokenizer's last id, others lack the rows of tokens that were added; those stay ours.
    """
    return torch.cat([found[: len(own)].to(own), own[len(found) :]])
