"""A suite of two cells."""

from pathlib import Path
from typing import Any

import yaml

SMALL = {
    "title": "Two",
    "baseline": "plain",
    "heldout": {
        "alike": {
            "knowledge_masking": {"masking": {"units": "word"}},
            "capitalization": {"masked_tokens": False},
        },
        "tokens": {"knowledge_masking": {"masking": {"units": "token"}}},
    },
    "common": {
        "data": {"row_length": 32, "rows": 4, "rows_per_group": 4},
        "encoder": {"layers": 1, "hidden_size": 32, "maximum_positions": 32},
        "optimizer": {"warmup_steps": 1},
        "training": {"precision": "fp32", "heldout": {"samples": 8}},
    },
    "cells": {
        "plain": {"preset": {"name": "multitask", "tasks": {"knowledge_masking": {}}}},
        "both": {
            "preset": {
                "name": "continual_multitask_mlm",
                "tasks": {"knowledge_masking": {}, "capitalization": {}},
            }
        },
    },
}


def small_suite(folder: Path, **changes: Any) -> Path:
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(SMALL | changes, sort_keys=False))
    return path
