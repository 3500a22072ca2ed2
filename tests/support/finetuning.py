"""A tokenizer of whole words, and rows of labelled sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = [
    "good",
    "bad",
    "day",
    "night",
    "the",
    "of",
    "sun",
    "##ny",
    "moon",
    "rain",
    "who",
    "came",
    "john",
    "mary",
    "?",
    '"',
    "好",
    "天",
]


MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


WriteRows = Callable[[str, list[Any]], Path]


def word_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {token: number for number, token in enumerate(MARKS + WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]",
        "[CLS] $A [SEP] $B:1 [SEP]:1",
        [(mark, vocabulary[mark]) for mark in ("[CLS]", "[SEP]")],
    )
    marks = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **marks)


SMALL: dict[str, Any] = {
    "kind": "classification",
    "data": {"train": "train.tsv", "dev": "dev.tsv"},
    "columns": {"text": "text", "label": "label"},
    "train": {"learning_rates": [1e-4]},
}
