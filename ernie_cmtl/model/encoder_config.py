"""Settings of the encoder."""

from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from transformers.activations import ACT2FN

from ernie_cmtl.errors import UserError, choices

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
        "local_attention",
        "global_every",
        "local_rotary_base",
    )
    """Settings that a checkpoint decides where the encoder starts from one."""
    OF_SOME_FAMILIES: ClassVar[tuple[str, ...]] = (
        "local_attention",
        "global_every",
        "local_rotary_base",
    )
    """Settings that a family has only if it says so; None: not set."""

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
    positions: Positions | None = None
    """learned: a vector for each position, as in ERNIE 2.0; rotary: queries and keys are turned by
    their position, which takes a small encoder a tenth of the tokens to the same loss. None: what
    is usual in the family; learned for ernie, rotary for modernbert.
    """
    rotary_base: float = Field(10_000, gt=0)
    """Of rotary positions: the larger, the slower the slowest angle grows."""
    local_attention: int | None = Field(None, ge=2, multiple_of=2)
    """Places that a token sees in a local layer, half of them on each side. None: every layer sees
    the whole sequence.
    """
    global_every: int | None = Field(None, ge=1)
    """With local attention: layers per global layer, which comes first and sees the whole
    sequence.
    """
    local_rotary_base: float | None = Field(None, gt=0)
    """The rotary base of local layers. None: that of the others."""
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
        return self

    @property
    def local_layers(self) -> int:
        """How many layers see a window only; of sized settings."""
        if not self.local_attention:
            return 0
        return self.layers - -(-self.layers // (self.global_every or 1))

    @property
    def given_of_families(self) -> bool:
        """Is a setting given that not every family has, or has alike."""
        names = ("positions", *self.OF_SOME_FAMILIES)
        return any(getattr(self, name) is not None for name in names)

    def settled(
        self, positions: Sequence[Positions], of_family: Collection[str]
    ) -> "EncoderConfig":
        """Return the settings with the family's usual positions where none are set.

        positions: those that the family has, the usual one first; of_family: its settings out of
        `OF_SOME_FAMILIES`.

        Raises:
            UserError: A setting is not one of the family's, or does not go with another one.
        """
        named = f"encoder.architecture {self.architecture!r}"
        for name in self.OF_SOME_FAMILIES:
            if getattr(self, name) is not None and name not in of_family:
                raise UserError(
                    f"{named} has no {name}, which is set to {getattr(self, name)!r}; "
                    f"{_those_with(of_family)}; leave encoder.{name} out"
                )
        chosen = self.positions or positions[0]
        if chosen not in positions:
            raise UserError(
                f"{named} has no positions of the kind {chosen!r}; set "
                f"encoder.positions={positions[0]}, or leave it out"
            )
        size = self.hidden_size // self.attention_heads
        if chosen == "rotary" and size % 2 and not self.init_from:
            raise UserError(
                f"positions 'rotary' turns pairs of numbers, and heads of size {size} (hidden_size "
                f"{self.hidden_size} / attention_heads {self.attention_heads}) are odd; choose an "
                "even size"
            )
        return self.model_copy(update={"positions": chosen})


def _those_with(settings: Collection[str]) -> str:
    return f"of such settings it has {', '.join(sorted(settings)) or 'none'}"
