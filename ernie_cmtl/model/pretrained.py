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
    JinaEmbeddingsV3Config,
    JinaEmbeddingsV3ForMaskedLM,
    JinaEmbeddingsV3Model,
    PretrainedConfig,
)
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, logging
from transformers.utils.hub import cached_file

from ernie_cmtl.errors import UserError
from ernie_cmtl.model.encoder_config import Positions

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
"""What is taken from a config; others may name code, kernels of the Hub or quantizers."""
_NEVER_READ = "cls.seq_relationship."
"""BERT's head for the next sentence."""
_MOST_LAYERS = 1000


def pretrained_config(init_from: str, positions: Positions) -> Any:
    """Return the config of a checkpoint with learned or rotary positions, its sizes and nothing
    else.

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
    _check_kind(init_from, kind, positions)
    if not config.tie_word_embeddings:
        raise UserError(
            f"init_from {init_from!r} has an output embedding of its own; accepted are "
            "checkpoints that tie it"
        )
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


def checkpoint_weights(init_from: str, positions: Positions) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights of a checkpoint without their prefix, and the names that it lacks.

    Raises:
        UserError: It is of another kind, has no safetensors weights, or other ones than its config
            says.
    """
    config = pretrained_config(init_from, positions)
    options = {"config": config, "use_safetensors": True, "output_loading_info": True}
    weights: dict[str, Tensor] = {}
    lacking: set[str] = set()
    for kind in _CLASSES[config.model_type]:
        try:
            check_index(init_from)
            with quiet_loading():
                model, report = kind.from_pretrained(init_from, **options)
        except Exception as error:
            raise UserError(
                f"init_from {init_from!r} holds no safetensors weights that fit: "
                f"{first_line(error)}"
            ) from error
        prefix, missing = model.base_model_prefix + ".", set(report["missing_keys"])
        lacking |= {name.removeprefix(prefix) for name in missing}
        weights |= {
            name.removeprefix(prefix): value
            for name, value in model.state_dict().items()
            if name not in missing
        }
    return weights, sorted(name for name in lacking if not name.startswith(_NEVER_READ))


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
