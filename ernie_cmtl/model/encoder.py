"""The encoder: transformers' own ErnieModel with a task embedding whose rows are parameters of
their own.
"""

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional
from transformers import ErnieConfig, ErnieModel
from transformers.activations import ACT2FN

from ernie_cmtl.model.kernels import packed_attention
from ernie_cmtl.model.kernels.dropout import replace_dropout
from ernie_cmtl.model.last_layer import LastLayer, replace_last_layer
from ernie_cmtl.model.pretrained import pretrained_config
from ernie_cmtl.randomness import derive_key
from ernie_cmtl.records import Vocabulary

TASK_ROWS = 32
"""Rows of the task embedding; a run fills them in order of introduction."""
SEGMENT_TYPES = 4
SIZES = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "attention_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "activation": "hidden_act",
    "maximum_positions": "max_position_embeddings",
    "layer_norm_epsilon": "layer_norm_eps",
}
"""Setting that a checkpoint decides where the encoder starts from one -> its name in the config of
transformers.
"""

TaskEmbeddingUse = Literal["on", "off", "shuffled"]


class EncoderConfig(BaseModel):
    """Size of the encoder, or the checkpoint that it starts from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    init_from: str | None = None
    """A BERT or Ernie checkpoint of transformers; its sizes then replace those below."""
    layers: int = Field(12, ge=1)
    hidden_size: int = Field(768, ge=1)
    attention_heads: int = Field(12, ge=1)
    intermediate_size: int | None = Field(None, ge=1)
    """None: four times the hidden size."""
    activation: str = "gelu"
    dropout: float = Field(0.1, ge=0, lt=1)
    """Hidden dropout; attention has none."""
    maximum_positions: int = Field(512, ge=16)
    layer_norm_epsilon: float = Field(1e-5, gt=0)
    """ERNIE 2.0's own value; BERT has 1e-12."""
    initializer_range: float = Field(0.02, gt=0)
    task_embedding: TaskEmbeddingUse = "on"
    """off: the encoder has none; shuffled: a control, each sample gets the row of a random task of
    the run.
    """

    @field_validator("task_embedding", mode="before")
    @classmethod
    def _spelled_as_boolean(cls, value: Any) -> Any:
        # YAML reads on and off as booleans.
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value

    @field_validator("activation")
    @classmethod
    def _known(cls, activation: str) -> str:
        if activation not in ACT2FN:
            raise ValueError(
                f"unknown activation {activation!r}; accepted: {', '.join(sorted(ACT2FN))}"
            )
        return activation

    @model_validator(mode="after")
    def _heads_divide(self) -> "EncoderConfig":
        if self.hidden_size % self.attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is no multiple of attention_heads "
                f"{self.attention_heads}"
            )
        return self


class TaskEmbedding(nn.Module):
    """A row a task, each its own parameter: a task without labels in a step gets no gradient, so
    its row does not move.
    """

    def __init__(self, rows: int, size: int, deviation: float) -> None:
        super().__init__()
        self.rows = nn.ParameterList(
            [nn.Parameter(torch.randn(size) * deviation) for _ in range(rows)]
        )

    def table(self) -> Tensor:
        """Return the rows as one table; [rows, size]."""
        return torch.stack(list(self.rows))

    def forward(self, task_type_ids: Tensor) -> Tensor:
        """Look up rows; task_type_ids: int64 [...]; returns [..., size]."""
        return functional.embedding(task_type_ids, self.table())


def build_encoder(config: EncoderConfig, vocabulary: Vocabulary, seed: int) -> ErnieModel:
    """Make a freshly initialised encoder for packed batches; the same seed gives the same
    weights.
    """
    sizes: dict[str, Any] = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.attention_heads,
        "intermediate_size": config.intermediate_size or 4 * config.hidden_size,
        "hidden_act": config.activation,
        "max_position_embeddings": config.maximum_positions,
        "layer_norm_eps": config.layer_norm_epsilon,
    }
    if config.init_from:
        found = pretrained_config(config.init_from)
        sizes = {name: getattr(found, name) for name in sizes}
    settings = ErnieConfig(
        **sizes,
        vocab_size=vocabulary.size,
        pad_token_id=vocabulary.pad_id,
        type_vocab_size=SEGMENT_TYPES,
        use_task_id=True,
        task_type_vocab_size=TASK_ROWS,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=0.0,
        initializer_range=config.initializer_range,
    )
    settings._attn_implementation = packed_attention.NAME
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_key(seed, "encoder") >> 1)
        encoder = ErnieModel(settings)
        rows = TaskEmbedding(TASK_ROWS, settings.hidden_size, config.initializer_range)
        encoder.embeddings.set_submodule("task_type_embeddings", rows)
        replace_last_layer(encoder)
    replace_dropout(encoder)
    if config.task_embedding == "off":
        # Taken away rather than never made, so that all other weights start as they do with it.
        del encoder.embeddings.task_type_embeddings
        encoder.embeddings.use_task_id = encoder.config.use_task_id = False
    return encoder


def task_rows(encoder: ErnieModel) -> tuple[nn.Parameter, ...]:
    """Return the rows of the task embedding; none where the encoder has no such embedding."""
    embedding = getattr(encoder.embeddings, "task_type_embeddings", None)
    return tuple(cast(TaskEmbedding, embedding).rows) if embedding is not None else ()


def recompute_activations(encoder: ErnieModel) -> None:
    """Keep only the input of each layer for the backward pass and compute the rest again: less
    memory, more time.
    """
    # The older name is deprecated in newer versions of transformers, the newer one is not there in
    # older ones.
    enable = (
        getattr(encoder, "activation_checkpointing_enable", None)
        or encoder.gradient_checkpointing_enable
    )
    enable({"use_reentrant": False})


def compile_layers(encoder: ErnieModel, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile what the layers do beside attention, once: shapes stay the same, but for the places
    where the last is read.
    """
    for layer in encoder.encoder.layer:
        layer.compile(backend=backend, dynamic=isinstance(layer, LastLayer))


def encoder_sizes(encoder: ErnieModel) -> dict[str, int | float | str]:
    """Return the settings of `EncoderConfig` that give an encoder of the same shape, whatever it
    started from.
    """
    return {name: getattr(encoder.config, theirs) for name, theirs in SIZES.items()}


def load_encoder_weights(encoder: ErnieModel, weights: dict[str, Tensor]) -> list[str]:
    """Copy checkpoint weights into an encoder; return the names of the parameters that stay freshly
    initialised.

    Token types beyond the checkpoint's are copies of its last one. A checkpoint without task
    embedding gets one of zeros, and an encoder without one adds the checkpoint's first row to the
    token types, so it computes at first what the checkpoint did.
    """
    own = encoder.state_dict()
    filled = {name: value for name, value in weights.items() if name in own}
    # Some checkpoints pad their table beyond the tokenizer's last id.
    words = "embeddings.word_embeddings.weight"
    if words in filled:
        filled[words] = filled[words][: len(own[words])]
    rows = task_rows(encoder)
    table = weights.get("embeddings.task_type_embeddings.weight")
    types = weights.get("embeddings.token_type_embeddings.weight")
    if types is not None:
        if table is not None and not rows:
            types = types + table[0]
        types = types[:SEGMENT_TYPES]
        filler = types[-1:].expand(SEGMENT_TYPES - len(types), -1)
        filled["embeddings.token_type_embeddings.weight"] = torch.cat([types, filler])
    for row, parameter in enumerate(rows):
        name = f"embeddings.task_type_embeddings.rows.{row}"
        if table is None:
            filled[name] = torch.zeros_like(parameter)
        elif row < len(table):
            filled[name] = table[row]
    encoder.load_state_dict(filled, strict=False)
    return sorted(set(own) - set(filled))
