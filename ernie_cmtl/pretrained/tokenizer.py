"""The tokenizer of a checkpoint: one with a vocabulary of its own, and no code."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie_cmtl.errors import UserError
from ernie_cmtl.pretrained.reasons import reason

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LARGEST_ID = 10_000_000
"""Highest token id that is accepted: tables with a row for each id are made."""


def open_tokenizer(name: str, needs_offsets: str | None = None) -> "PreTrainedTokenizerBase":
    """Load a tokenizer of transformers by its name or folder.

    needs_offsets: why only a fast tokenizer is accepted, for the message; None: any is.

    Raises:
        UserError: There is none, it knows no token of its own or ids out of bounds, or it is not a
            fast one.
    """
    # What the library raises has no common type; without the switch it asks whether to run code.
    try:
        tokenizer = _loader(Path(name))(name, trust_remote_code=False)
        ids = set(tokenizer.get_vocab().values())
        special = set(tokenizer.all_special_ids)
        longest = tokenizer.model_max_length
    except Exception as error:
        raise UserError(f"cannot load a tokenizer from {name!r}: {reason(error)}") from error
    # Nothing that could name code is handed on with what is saved.
    tokenizer.init_kwargs.pop("auto_map", None)
    tokenizer.chat_template = None
    if needs_offsets and not tokenizer.is_fast:
        raise UserError(f"tokenizer {name!r} is not a fast one; {needs_offsets}")
    # The library makes up a tokenizer without a vocabulary for a folder that has a model only.
    if ids <= special:
        raise UserError(
            f"cannot load a tokenizer from {name!r}: it holds no vocabulary of its own and knows "
            "special tokens only"
        )
    if not 0 <= min(ids | special) <= max(ids | special) <= LARGEST_ID:
        raise UserError(
            f"tokenizer {name!r} has token ids from {min(ids | special)} to "
            f"{max(ids | special)}; accepted are 0 to {LARGEST_ID:,}"
        )
    if not isinstance(longest, int | float) or longest < 1:
        raise UserError(
            f"tokenizer {name!r} has the model_max_length {longest!r}; accepted are numbers above 0"
        )
    return tokenizer


def _loader(folder: Path) -> "Callable[..., PreTrainedTokenizerBase]":
    """Return what loads a tokenizer: BERT's own class where one stands alone and says so, else the
    class that finds out.
    """
    settings = folder / "tokenizer_config.json"
    found: Any = None
    if settings.is_file() and not (folder / "config.json").exists():
        # What is damaged is named by the library below.
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads(settings.read_bytes())
    if isinstance(found, dict) and found.get("tokenizer_class") == "BertTokenizer":
        # Finding out brings torch along, which takes as long as all else here.
        from transformers import BertTokenizer

        return BertTokenizer.from_pretrained
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained
