"""The files in which servers look for the pooling of an export."""

import json
from pathlib import Path
from typing import Literal

Pooling = Literal["mean", "cls"]
POOLING_CONFIG = Path("1_Pooling", "config.json")
_NAMES: dict[Pooling, str] = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
}
"""What text-embeddings-inference and sentence-transformers before 6 call it."""


def write_pooling(folder: Path, pooling: Pooling) -> None:
    """Write or complete the file in which servers look for the pooling, with the names that each of
    them knows.
    """
    path = folder / POOLING_CONFIG
    path.parent.mkdir(exist_ok=True)
    written = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    written |= {
        **{name: mode == pooling for mode, name in _NAMES.items()},
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    path.write_text(json.dumps(written, indent=1), encoding="utf-8")
