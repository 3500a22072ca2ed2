"""Settings of the encoder."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from transformers.activations import ACT2FN

from ernie_cmtl.errors import choices

Positions = Literal["learned", "rotary"]
TaskEmbeddingUse = Literal["on", "off", "shuffled"]


class EncoderConfig(BaseModel):
    """Family and size of the encoder, or the checkpoint that it starts from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    SIZES: ClassVar[tuple[str, ...]] = (
        "layers",
        "hidden_size",
        "attention_heads",
        "intermediate_size",
        "activation",
        "maximum_positions",
        "layer_norm_epsilon",
        "rotary_base",
    )
    """Settings that a checkpoint decides where the encoder starts from one."""

    architecture: str = "ernie"
    """Family of the encoder: a file of `model/families`, or a plug-in."""
    init_from: str | None = None
    """A checkpoint of transformers; its sizes then replace those below."""
    layers: int = Field(12, ge=1)
    """Layers of the encoder."""
    hidden_size: int = Field(768, ge=1)
    """Width of the states; a multiple of the attention heads."""
    attention_heads: int = Field(12, ge=1)
    """Heads of each layer."""
    intermediate_size: int | None = Field(None, ge=1)
    """None: what is usual in the family; four times the hidden size for ernie."""
    positions: Positions = "learned"
    """learned: a vector for each position, as in ERNIE 2.0; rotary: queries and keys are turned by
    their position, which takes a small encoder a tenth of the tokens to the same loss.
    """
    rotary_base: float = Field(10_000, gt=0)
    """Of rotary positions: the larger, the slower the slowest angle grows."""
    activation: str = "gelu"
    """Activation of the feed-forward layers, by its name in transformers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Hidden dropout; attention has none."""
    maximum_positions: int = Field(512, ge=16)
    """Tokens of the longest sequence; rotary positions have no parameters for them."""
    layer_norm_epsilon: float = Field(1e-5, gt=0)
    """ERNIE 2.0's own value; BERT has 1e-12."""
    initializer_range: float = Field(0.02, gt=0)
    """Standard deviation of the first weights."""
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
            known = choices(activation, sorted(ACT2FN))
            raise ValueError(f"unknown activation {activation!r}; {known}")
        return activation

    @model_validator(mode="after")
    def _heads_divide(self) -> "EncoderConfig":
        if self.hidden_size % self.attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is no multiple of attention_heads "
                f"{self.attention_heads}"
            )
        size = self.hidden_size // self.attention_heads
        if self.positions == "rotary" and size % 2:
            raise ValueError(
                f"positions 'rotary' turns pairs of numbers, and heads of size {size} (hidden_size "
                f"{self.hidden_size} / attention_heads {self.attention_heads}) are odd; choose an "
                "even size"
            )
        if self.positions == "rotary" and self.activation != "gelu":
            raise ValueError(
                f"positions 'rotary' goes with activation 'gelu', not {self.activation!r}: the "
                "class of transformers that exports load with has no other"
            )
        return self
