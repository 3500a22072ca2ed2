"""Checkpoints of transformers that an encoder may start from, read so that nothing in them can run
or fetch code.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import (
    BertConfig,
    BertForPreTraining,
    ErnieConfig,
    ErnieForPreTraining,
    PretrainedConfig,
)
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, logging
from transformers.utils.hub import cached_file

from ernie_cmtl.errors import UserError

_CONFIGS: dict[str, type[BertConfig] | type[ErnieConfig]] = {
    "bert": BertConfig,
    "ernie": ErnieConfig,
}
_MODELS: dict[str, Any] = {"bert": BertForPreTraining, "ernie": ErnieForPreTraining}
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
    *("use_task_id", "task_type_vocab_size"),
)
"""What is taken from a config; others may name code, kernels of the Hub or quantizers."""
_NEVER_READ = "cls.seq_relationship."
"""BERT's head for the next sentence."""
_MOST_LAYERS = 1000


def pretrained_config(init_from: str) -> BertConfig | ErnieConfig:
    """Return the config of a BERT or Ernie checkpoint, its sizes and nothing else.

    Raises:
        UserError: It cannot be loaded or is of another kind.
    """
    # What the library raises about a config that is none has no common type.
    try:
        found, _ = PretrainedConfig.get_config_dict(init_from)
        kind = found.get("model_type")
        if kind in _CONFIGS and int(found.get("num_hidden_layers", 0)) > _MOST_LAYERS:
            raise ValueError(
                f"it has {found['num_hidden_layers']} layers; accepted are up to {_MOST_LAYERS}"
            )
        if kind in _CONFIGS:
            config = _CONFIGS[kind](**{name: found[name] for name in _KEPT if name in found})
    except Exception as error:
        raise UserError(f"init_from {init_from!r} cannot be loaded: {first_line(error)}") from error
    if kind not in _CONFIGS:
        raise UserError(
            f"init_from {init_from!r} is a {kind!r} checkpoint; accepted are "
            f"{' and '.join(_CONFIGS)}"
        )
    if not config.tie_word_embeddings:
        raise UserError(
            f"init_from {init_from!r} has an output embedding of its own; accepted are "
            "checkpoints that tie it"
        )
    return config


def checkpoint_weights(init_from: str) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights of a BERT or Ernie checkpoint under Ernie's names without prefix, and the
    names that it lacks.

    Raises:
        UserError: It is no such checkpoint, has no safetensors weights, or other ones than its
            config says.
    """
    config = pretrained_config(init_from)
    options: dict[str, Any] = {
        "config": config,
        "use_safetensors": True,
        "output_loading_info": True,
    }
    try:
        check_index(init_from)
        with quiet_loading():
            model, report = _MODELS[config.model_type].from_pretrained(init_from, **options)
    except Exception as error:
        raise UserError(
            f"init_from {init_from!r} holds no safetensors weights that fit: {first_line(error)}"
        ) from error
    missing = set(report["missing_keys"])
    prefix = model.base_model_prefix + "."
    weights = {k.removeprefix(prefix): v for k, v in model.state_dict().items() if k not in missing}
    return weights, sorted(name for name in missing if not name.startswith(_NEVER_READ))


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep the library from listing the weights that a class without them passes over; what is
    missing is checked by us.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def check_index(init_from: str) -> None:
    """Refuse an index that names other files than safetensors beside it: the library would unpickle
    them.

    Raises:
        ValueError: It does.
    """
    try:
        path = cached_file(init_from, SAFE_WEIGHTS_INDEX_NAME)
    except OSError:
        path = None
    if path is None:
        return
    named = json.loads(Path(path).read_text(encoding="utf-8"))["weight_map"].values()
    if other := [name for name in named if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name)]:
        raise ValueError(f"{SAFE_WEIGHTS_INDEX_NAME} names {other[0]!r}")


def first_line(error: Exception) -> str:
    """Return what an error of the library says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
