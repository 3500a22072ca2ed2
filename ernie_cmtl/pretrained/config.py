"""The config of a checkpoint: sizes within reason, and no key that names code."""

from typing import Any

from transformers import CONFIG_MAPPING, PretrainedConfig

from ernie_cmtl.errors import UserError
from ernie_cmtl.pretrained.reasons import reason

_LARGEST = {
    "vocab_size": 10_000_000,
    "hidden_size": 65_536,
    "num_hidden_layers": 1_000,
    "num_attention_heads": 4_096,
    "intermediate_size": 1_000_000,
    "max_position_embeddings": 10_000_000,
    "type_vocab_size": 10_000,
    "task_type_vocab_size": 10_000,
    "local_attention": 10_000_000,
    "global_attn_every_n_layers": 1_000,
}
"""Accepted sizes: the library allocates what a config says before it looks at the weights."""
_NAMES_CODE = {
    *("auto_map", "custom_pipelines", "quantization_config", "configuration_files"),
    *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
    *("experts_implementation", "_experts_implementation"),
    "_experts_implementation_internal",
}
"""Keys whose values name modules, kernels of the Hub or quantizers."""


def read_settings(name: str, what: str) -> dict[str, Any]:
    """Return what the config of a checkpoint says, without the keys that name code.

    what: how messages call the checkpoint, such as "model 'bert-base-uncased'".

    Raises:
        UserError: There is no config, a size in it is out of bounds, or its classes have no names.
    """
    # What the library raises about a config that is none has no common type.
    try:
        found, _ = PretrainedConfig.get_config_dict(name)
    except Exception as error:
        raise UserError(f"{what} cannot be loaded: {reason(error)}") from error
    kind = found.get("model_type")
    known = isinstance(kind, str) and kind in CONFIG_MAPPING
    aliases = CONFIG_MAPPING[str(kind)].attribute_map if known else {}
    for size, most in _LARGEST.items():
        for key in {size, aliases.get(size, size)}:
            value = found.get(key)
            if isinstance(value, int | float) and not 0 <= value <= most:
                raise UserError(
                    f"{what} cannot be loaded: its config has {key} {value}; accepted are 0 to "
                    f"{most:,}"
                )
    classes = found.get("architectures") or []
    if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
        raise UserError(
            f"{what} cannot be loaded: its config has architectures {classes!r}; accepted is a "
            "list of names of classes"
        )
    return {key: value for key, value in found.items() if key not in _NAMES_CODE}


def read_config(name: str, what: str) -> PretrainedConfig:
    """Return the config of a checkpoint of any kind that `transformers` knows.

    Raises:
        UserError: There is none, its kind is unknown, or a size in it is out of bounds.
    """
    settings = read_settings(name, what)
    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise UserError(
            f"{what} cannot be loaded: its config names the model_type {kind!r}, which this "
            "version of transformers does not have; code of a checkpoint is never run"
        )
    try:
        config: PretrainedConfig = CONFIG_MAPPING[kind].from_dict(settings)
    except Exception as error:
        raise UserError(f"{what} cannot be loaded: {reason(error)}") from error
    return config
