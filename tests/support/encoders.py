"""Encoders of each family, as settings beside the sizes of a tiny run."""

from typing import Any

from ernie_cmtl.config import RunConfig

ENCODERS: dict[str, dict[str, Any]] = {
    "learned": {"positions": "learned"},
    "rotary": {"positions": "rotary"},
    "modernbert": {"architecture": "modernbert"},
    "modernbert_windows": {
        "architecture": "modernbert",
        "layers": 3,
        "local_attention": 8,
        "global_every": 2,
        "local_rotary_base": 100.0,
    },
}

BEHIND_ATTENTION = {"ernie": "intermediate", "modernbert": "mlp"}
"""First part of a layer behind its attention, by family."""


def with_encoder(config: RunConfig, name: str, **changes: Any) -> RunConfig:
    """Return the configuration of a run with the encoder of a name."""
    encoder = config.encoder.model_copy(update=ENCODERS[name] | changes)
    return config.model_copy(update={"encoder": encoder})
