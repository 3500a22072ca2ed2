"""Weights and settings between our ModernBERT and the stock class ModernBertForMaskedLM."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import ModernBertConfig, ModernBertForMaskedLM, ModernBertModel

from ernie_cmtl.errors import UserError
from ernie_cmtl.head_kinds.vocabulary import VocabularyHead
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.init_from import config_of, fitted, settings_of, weights_of
from ernie_cmtl.records import Vocabulary

KIND = "modernbert"
GLOBAL: Literal["full_attention"] = "full_attention"
LOCAL: Literal["sliding_attention"] = "sliding_attention"
"""Types of layers in the config of transformers."""
_NAMES = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "attention_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "activation": "hidden_activation",
    "maximum_positions": "max_position_embeddings",
    "layer_norm_epsilon": "norm_eps",
}
"""Size in `EncoderConfig` -> its name in the config of transformers."""
_BIASES = ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias")
_KEPT = (
    *_NAMES.values(),
    *_BIASES,
    *("vocab_size", "tie_word_embeddings", "decoder_bias"),
    *(f"{name}_token_id" for name in ("pad", "bos", "eos", "cls", "sep")),
    *("classifier_activation", "layer_types", "local_attention", "rope_parameters"),
    # Older checkpoints say it in these words.
    *("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"),
)
"""What is taken from the config of a checkpoint."""
_WORDS = "embeddings.tok_embeddings.weight"
_TASKS = "embeddings.task_type_embeddings"
_HEAD = {"head.dense.weight": "transform.dense.weight", "head.norm.weight": "transform.norm.weight"}
"""Name in the stock class -> in the vocabulary head; the decoder's bias stands beside them."""


def config_of_encoder(config: EncoderConfig, vocabulary: Vocabulary) -> ModernBertConfig:
    """Return the config of the stock class; config: sized."""
    every, base = config.global_every or 1, config.rotary_base
    kinds: list[str] = [LOCAL if n % every else GLOBAL for n in range(config.layers)]
    local_base = config.local_rotary_base or base
    return ModernBertConfig(
        **{theirs: getattr(config, ours) for ours, theirs in _NAMES.items()},
        vocab_size=vocabulary.size,
        pad_token_id=vocabulary.pad_id,
        bos_token_id=vocabulary.cls_id,
        cls_token_id=vocabulary.cls_id,
        eos_token_id=vocabulary.sep_id,
        sep_token_id=vocabulary.sep_id,
        classifier_activation=config.activation,
        initializer_range=config.initializer_range,
        layer_types=kinds,
        local_attention=config.local_attention or 128,
        rope_parameters={
            GLOBAL: {"rope_type": "default", "rope_theta": base},
            LOCAL: {"rope_type": "default", "rope_theta": local_base},
        },
        embedding_dropout=config.dropout,
        mlp_dropout=config.dropout,
        classifier_dropout=config.dropout,
        architectures=["ModernBertForMaskedLM"],
    )


def pretrained_config(init_from: str) -> ModernBertConfig:
    """Return the config of a ModernBERT checkpoint, its sizes and nothing else.

    Raises:
        UserError: It cannot be loaded, is of another kind, or has parts that this encoder has not.
    """
    found = settings_of(init_from)
    if found.get("model_type") != KIND:
        raise UserError(
            f"init_from {init_from!r} is a {found.get('model_type')!r} checkpoint; accepted with "
            f"encoder.architecture 'modernbert': {KIND}"
        )
    config: ModernBertConfig = config_of(init_from, found, ModernBertConfig, _KEPT)
    if biased := [name for name in _BIASES if getattr(config, name)]:
        _refuse(init_from, biased[0], True, "false")
    if config.classifier_activation != config.hidden_activation:
        accepted = repr(config.hidden_activation)
        _refuse(init_from, "classifier_activation", config.classifier_activation, accepted)
    for kind, rotary in (config.rope_parameters or {}).items():
        if rotary["rope_type"] != "default":
            _refuse(init_from, f"rope_type of {kind}", rotary["rope_type"], "default")
        base = rotary["rope_theta"]
        if not isinstance(base, int | float) or not 0 < base < float("inf"):
            _refuse(init_from, f"rope_theta of {kind}", base, "numbers above 0")
    return config


def sizes_of(init_from: str) -> dict[str, Any]:
    """Return the sizes that an encoder has which starts from a checkpoint, as settings.

    Raises:
        UserError: As `pretrained_config`, or other layers are local than every so many allow.
    """
    config = pretrained_config(init_from)
    rotary = config.rope_parameters or {}
    kinds = list(config.layer_types or [])
    sizes = {ours: getattr(config, theirs) for ours, theirs in _NAMES.items()}
    sizes |= dict.fromkeys(("local_attention", "global_every", "local_rotary_base"))
    sizes["rotary_base"] = rotary[GLOBAL]["rope_theta"]
    if LOCAL in kinds:
        every = next((n for n in range(1, len(kinds)) if kinds[n] == GLOBAL), len(kinds))
        sizes |= {"local_attention": 2 * config.sliding_window, "global_every": every}
        sizes["local_rotary_base"] = rotary[LOCAL]["rope_theta"]
    every = sizes["global_every"] or 1
    if kinds != [LOCAL if n % every else GLOBAL for n in range(config.num_hidden_layers)]:
        _refuse(
            init_from,
            "layer_types",
            kinds,
            f"one of so many layers {GLOBAL!r}, the first among them, and the others {LOCAL!r}",
        )
    if LOCAL in kinds and config.sliding_window < 1:
        _refuse(init_from, "local_attention", config.local_attention, "2 or more")
    return sizes


def _refuse(init_from: str, name: str, value: Any, accepted: str) -> None:
    raise UserError(f"init_from {init_from!r} has the {name} {value!r}; accepted: {accepted}")


def checkpoint_weights(init_from: str) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights of a checkpoint without their prefix, and the names that it lacks.

    Raises:
        UserError: It is of another kind, has no safetensors weights, or other ones than its config
            says.
    """
    config = pretrained_config(init_from)
    weights, lacking = weights_of(init_from, config, [ModernBertForMaskedLM])
    if not config.decoder_bias:
        weights["decoder.bias"] = torch.zeros(config.vocab_size)
    return weights, sorted(lacking)


def load(
    encoder: ModernBertModel,
    rows: tuple[nn.Parameter, ...],
    head: VocabularyHead,
    weights: Mapping[str, Tensor],
) -> list[str]:
    """Copy checkpoint weights into encoder and vocabulary head; return what stays fresh.

    Rows of the word embeddings beyond the checkpoint's stay freshly initialised. The task embedding
    becomes zeros, so that the encoder computes at first what the checkpoint did.
    """
    own = encoder.state_dict()
    filled = {name: value for name, value in weights.items() if name in own}
    fresh = {name for name in own if name not in filled and not name.startswith(_TASKS)}
    if _WORDS in filled:
        known, tokens = len(filled[_WORDS]), len(own[_WORDS])
        filled[_WORDS] = fitted(filled[_WORDS], own[_WORDS])
        fresh |= {f"{_WORDS} of tokens {known} to {tokens - 1}"} if known < tokens else set()
    filled |= {f"{_TASKS}.rows.{n}": torch.zeros_like(row) for n, row in enumerate(rows)}
    encoder.load_state_dict(filled, strict=False)
    named = {ours: weights[theirs] for theirs, ours in _HEAD.items() if theirs in weights}
    if "decoder.bias" in weights:
        named["bias"] = weights["decoder.bias"]
    mine = head.state_dict()
    head.load_state_dict({n: fitted(named.get(n, value), value) for n, value in mine.items()})
    return sorted(fresh)


def state_of(
    encoder: ModernBertModel, rows: tuple[nn.Parameter, ...], head: VocabularyHead, task_row: int
) -> dict[str, Tensor]:
    """Return the weights under the names of ModernBertForMaskedLM, with one row of the task
    embedding folded into the word embeddings.
    """
    state = {
        f"model.{name}": value
        for name, value in encoder.state_dict().items()
        if not name.startswith(_TASKS)
    }
    if rows:
        # The decoder is the same table: all scores of a place move by one number, and their
        # probabilities stay.
        state[f"model.{_WORDS}"] = state[f"model.{_WORDS}"] + rows[task_row]
    own = head.state_dict()
    state |= {theirs: own[ours] for theirs, ours in _HEAD.items()} | {"decoder.bias": own["bias"]}
    return {name: value.detach().cpu().float().contiguous() for name, value in state.items()}


def model_of(config: ModernBertConfig, state: dict[str, Tensor]) -> ModernBertForMaskedLM:
    """Return a stock model for masked tokens that scores padded sequences."""
    model = ModernBertForMaskedLM(config)
    # The decoder's matrix is tied to the word embeddings.
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    model.train(False)
    return model
