"""A tokenizer of whole words, and rows of labelled sets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import ErnieConfig, ErnieForMaskedLM, PreTrainedTokenizerFast

from ernie_cmtl.finetuning.sets.recipe import Recipe

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


def save_ernie(folder: Path) -> str:
    """Save an encoder with four different task rows, of which pretraining filled 0 and 2, and
    return its folder.
    """
    config = ErnieConfig(
        **{
            "vocab_size": len(MARKS + WORDS),
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
        **{
            "intermediate_size": 64,
            "max_position_embeddings": 64,
            "type_vocab_size": 4,
            "pad_token_id": 0,
        },
        **{"use_task_id": True, "task_type_vocab_size": 4, "hidden_dropout_prob": 0.0},
    )
    torch.manual_seed(5)
    encoder = ErnieForMaskedLM(config)
    torch.nn.init.normal_(encoder.ernie.embeddings.task_type_embeddings.weight, std=0.05)
    encoder.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    (folder / "pretraining.json").write_text(json.dumps({"tasks": {"first": 0, "second": 2}}))
    return str(folder)


SMALL: dict[str, Any] = {
    "kind": "classification",
    "data": {"train": "train.tsv", "dev": "dev.tsv"},
    "columns": {"text": "text", "label": "label"},
    "train": {"learning_rates": [1e-4]},
}

PLACES = ["sun", "moon", "rain", "day", "night"]
NAMES = ["john", "mary"]
PAIRED = {"text": "text", "text_pair": "pair", "label": "label"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "classification": [
        {"text": f"the {w} {p}", "label": w} for p in PLACES for w in ("good", "bad")
    ],
    "regression": [
        {"text": f"the {w} {p}", "label": 4.0 * (w == "good")}
        for p in PLACES
        for w in ("good", "bad")
    ],
    "ranking": [
        {"text": f"who {p}", "pair": f"{w} {q}", "label": int(w == "good")}
        for p in PLACES
        for w, q in (("bad", "sun"), ("good", "moon"), ("bad", "of"))
    ],
    "tokens": [
        {"text": f"the {n} of {p}", "label": "O B-PER O B-LOC"} for n in NAMES for p in PLACES
    ],
    "span": [
        {"text": "who?", "pair": f"the {p} of {n} came", "label": [{"text": n}]}
        for n in NAMES
        for p in PLACES
    ],
}


def recipe_of(kind: str, **settings: Any) -> Recipe:
    columns = PAIRED if "pair" in ROWS[kind][0] else {"text": "text", "label": "label"}
    data = {"train": "rows.jsonl", "test": "rows.jsonl"}
    train = {"learning_rates": [5e-3], "seeds": [1], "epochs": 20, "batch_size": 5} | settings.pop(
        "train", {}
    )
    return Recipe.model_validate(
        {"kind": kind, "columns": columns, "data": data, "train": train} | settings
    )
