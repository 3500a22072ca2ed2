"""A model of transformers that is judged as it is: an export, a run, or any name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForMaskedLM,
    BatchEncoding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ernie_cmtl.errors import UserError
from ernie_cmtl.pretrained.config import read_config
from ernie_cmtl.pretrained.tokenizer import open_tokenizer
from ernie_cmtl.pretrained.weights import load_weights

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class MaskedLanguageModel:
    """A model with a head for masked tokens, and its tokenizer."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    missing: tuple[str, ...] = ()
    """Weights that the checkpoint lacks and that are random."""

    @property
    def encoder(self) -> torch.nn.Module:
        """The model without its head."""
        return self.model.base_model

    @property
    def mask_id(self) -> int:
        """The token that stands for a masked one.

        Raises:
            UserError: The tokenizer has none, or the head of the model is random.
        """
        if headless := [
            name for name in self.missing if not name.startswith(f"{self.model.base_model_prefix}.")
        ]:
            raise UserError(
                f"model {self.name!r} has no masked-language-model head: it lacks {headless[0]}"
            )
        if self.tokenizer.mask_token_id is None:
            raise UserError(
                f"the tokenizer of {self.name!r} has no mask token; masked tokens cannot be "
                "predicted"
            )
        return int(cast(int, self.tokenizer.mask_token_id))

    def encode(self, sentences: Sequence[str], places: Sequence[str]) -> BatchEncoding:
        """Tokenize sentences, with special tokens; places: where each stands, for people.

        Raises:
            UserError: A sentence has no token, or more than the model takes.
        """
        longest = min(
            self.tokenizer.model_max_length,
            getattr(self.model.config, "max_position_embeddings", 1 << 30),
        )
        options: dict[str, Any] = {
            "return_special_tokens_mask": True,
            "return_attention_mask": False,
            "verbose": False,
        }
        encoded: BatchEncoding = self.tokenizer(list(sentences), **options)
        for place, tokens, special in zip(
            places, encoded["input_ids"], encoded["special_tokens_mask"], strict=True
        ):
            if len(tokens) > longest:
                raise UserError(
                    f"{place}: a sentence of {len(tokens)} tokens; {self.name!r} takes at most "
                    f"{longest}"
                )
            if all(special):
                raise UserError(f"{place}: a sentence without any token for {self.name!r}")
        return encoded


def load_masked_lm(name: str) -> MaskedLanguageModel:
    """Load a model of transformers by its name or folder; nothing in it can run code.

    Raises:
        UserError: It cannot be loaded, is of a kind without masked-language-model head, or has no
            tokenizer.
    """
    what = f"model {name!r}"
    config = read_config(name, what)
    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise UserError(
            f"{what} is a {config.model_type!r}, a kind that has no masked-language-model head"
        )
    tokenizer = open_tokenizer(name)
    model, lacking = load_weights(
        AutoModelForMaskedLM, name, what, config, attn_implementation="eager"
    )
    missing = sorted(lacking)
    if random := [
        key
        for key in missing
        if key.startswith(f"{model.base_model_prefix}.") and ".pooler." not in key
    ]:
        raise UserError(f"{what} lacks weights of its encoder: {random[0]}")
    rows = int(cast(torch.nn.Embedding, model.get_input_embeddings()).num_embeddings)
    if len(tokenizer) > rows:
        raise UserError(
            f"{what} has {rows} rows for tokens and its tokenizer {len(tokenizer)}: they "
            "do not belong together"
        )
    return MaskedLanguageModel(name, model.train(False).to(DEVICE), tokenizer, tuple(missing))
