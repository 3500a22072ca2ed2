"""Weights between our Ernie and the stock classes of transformers: ErnieForMaskedLM, ErnieModel."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import ErnieConfig, ErnieForMaskedLM, ErnieModel

from ernie_cmtl.head_kinds.vocabulary import VocabularyHead
from ernie_cmtl.model.init_from import fitted

SEGMENT_TYPES = 4
NAMES = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "attention_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "activation": "hidden_act",
    "maximum_positions": "max_position_embeddings",
    "layer_norm_epsilon": "layer_norm_eps",
}
"""Size in `EncoderConfig` -> its name in the config of transformers."""
_WORDS = "embeddings.word_embeddings.weight"
_TYPES = "embeddings.token_type_embeddings.weight"
_TASKS = "embeddings.task_type_embeddings"
_HEAD = "cls.predictions."


def load_encoder(
    encoder: ErnieModel, rows: tuple[nn.Parameter, ...], weights: Mapping[str, Tensor]
) -> list[str]:
    """Copy checkpoint weights into an encoder; return the names of the parameters that stay freshly
    initialised.

    Rows of the word embeddings beyond the checkpoint's stay freshly initialised. Token types beyond
    the checkpoint's are copies of its last one. A checkpoint without task embedding gets one of
    zeros, and an encoder without one adds the checkpoint's first row to the token types, so it
    computes at first what the checkpoint did.
    """
    own = encoder.state_dict()
    filled = {name: value for name, value in weights.items() if name in own}
    fresh = set(own) - set(filled)
    if _WORDS in filled:
        known, tokens = len(filled[_WORDS]), len(own[_WORDS])
        filled[_WORDS] = fitted(filled[_WORDS], own[_WORDS])
        fresh |= {f"{_WORDS} of tokens {known} to {tokens - 1}"} if known < tokens else set()
    table, types = weights.get(f"{_TASKS}.weight"), weights.get(_TYPES)
    if types is not None:
        if table is not None and not rows:
            types = types + table[0]
        types = types[:SEGMENT_TYPES]
        filled[_TYPES] = torch.cat([types, types[-1:].expand(SEGMENT_TYPES - len(types), -1)])
    for row, parameter in enumerate(rows):
        if table is None:
            filled[f"{_TASKS}.rows.{row}"] = torch.zeros_like(parameter)
        elif row < len(table):
            filled[f"{_TASKS}.rows.{row}"] = table[row]
    encoder.load_state_dict(filled, strict=False)
    return sorted(fresh - set(filled))


def load_vocabulary_head(head: VocabularyHead, weights: Mapping[str, Tensor]) -> None:
    """Copy the checkpoint's head for masked tokens; what it lacks stays as it is."""
    named = {name.removeprefix(_HEAD): value for name, value in weights.items()}
    own = head.state_dict()
    head.load_state_dict(
        {name: fitted(named.get(name, value), value) for name, value in own.items()}
    )


def state_of(
    encoder: ErnieModel, rows: tuple[nn.Parameter, ...], head: VocabularyHead
) -> dict[str, Tensor]:
    """Return the weights under the names of ErnieForMaskedLM, with the pooler that AutoModel looks
    for.
    """
    state = {
        f"ernie.{name}": value
        for name, value in encoder.state_dict().items()
        if not name.startswith(_TASKS)
    }
    if rows:
        state[f"ernie.{_TASKS}.weight"] = torch.stack(rows)
    for name, value in head.state_dict().items():
        state[f"{_HEAD}{name}"] = value
    return {name: value.detach().cpu().float().contiguous() for name, value in state.items()}


def config_of(encoder: ErnieModel) -> ErnieConfig:
    """Return the encoder's config as a stock class reads it."""
    settings = encoder.config.to_dict()
    for private in [name for name in settings if name.startswith("_") or name == "auto_map"]:
        del settings[private]
    settings["architectures"] = ["ErnieForMaskedLM"]
    return ErnieConfig(**settings)


def model_of(config: ErnieConfig, state: dict[str, Tensor]) -> ErnieForMaskedLM:
    """Return a stock model for masked tokens that scores padded sequences."""
    model = ErnieForMaskedLM(config)
    # The pooler has no place in this class.
    model.load_state_dict(state, strict=False)
    model.train(False)
    return model
