"""The tokenizer of a corpus: a WordPiece trained on it, or any fast tokenizer of transformers, kept
beside the corpus.
"""

import hashlib
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from ernie_cmtl.errors import UserError
from ernie_cmtl.pretrained.tokenizer import open_tokenizer
from ernie_cmtl.records import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_STRUCTURAL = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
"""Settings that name the special tokens which a model's input is built with."""

LONGEST_WORD = 100
"""Characters of the longest word that a WordPiece of BERT looks into; a longer one is unknown to
it.
"""
_UNBROKEN = re.compile(rf"\S{{{LONGEST_WORD + 1}}}")


class TokenizerConfig(BaseModel):
    """Which tokenizer a corpus gets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name_or_path: str | None = None
    """Fast tokenizer of transformers. none: train a WordPiece tokenizer on the corpus."""
    vocabulary_size: int = Field(30_522, ge=100)
    """Maximum entries of a trained vocabulary."""
    minimum_frequency: int = Field(2, ge=1)
    """Minimum number of occurrences of a trained piece in the sample."""
    sample_bytes: int = Field(128 << 20, ge=1)
    """Maximum bytes of UTF-8 text to train the tokenizer on."""


def train_wordpiece(texts: Sequence[str], config: TokenizerConfig) -> "PreTrainedTokenizerBase":
    """Train an uncased WordPiece like BERT's and return it as a transformers tokenizer; the same
    texts give the same one.
    """
    from transformers import BertTokenizer

    texts = [with_words_cut(text) for text in texts]
    # The trainer numbers inner characters in the order of a hash table and breaks ties by number:
    # number them first, sorted.
    distinct = sorted({piece for text in texts for piece in text.split()})
    counts = Counter(normalizers.BertNormalizer(lowercase=True).normalize_str(" ".join(distinct)))
    del counts[" "]
    # Each character may need a place twice, at the start of a word and inside.
    most = (config.vocabulary_size - len(SPECIAL_TOKENS)) // 2
    alphabet = sorted(counts, key=lambda character: (-counts[character], character))[:most]
    inner = sorted(
        token
        for token in _train(distinct, 1, 1, SPECIAL_TOKENS, alphabet)
        if token.startswith("##")
    )
    vocabulary = _train(
        texts, config.vocabulary_size, config.minimum_frequency, SPECIAL_TOKENS + inner, alphabet
    )
    ranked = sorted(vocabulary, key=vocabulary.__getitem__)
    return BertTokenizer(
        vocab={token: number for number, token in enumerate(ranked)}, do_lower_case=True
    )


def with_words_cut(text: str) -> str:
    """Return a text in which no word has more than 100 characters: the tokenizer knows no longer
    one, and the trainer takes minutes for a word of 200,000.
    """
    return _long_words().sub(r"\1", text) if _UNBROKEN.search(text) else text


@cache
def _long_words() -> re.Pattern[str]:
    # What parts words, as in BERT's pre-tokenizer: white space, punctuation, ideographs.
    marks = (chr(code) for code in range(0x80, sys.maxunicode + 1))
    punctuation = "".join(mark for mark in marks if unicodedata.category(mark)[0] == "P")
    inner = rf"[^\s!-/:-@\[-`{{-~\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff{punctuation}]"
    return re.compile(rf"({inner}{{{LONGEST_WORD}}}){inner}+")


def _train(
    texts: Sequence[str],
    size: int,
    minimum_frequency: int,
    first_tokens: list[str],
    alphabet: list[str],
) -> dict[str, int]:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=minimum_frequency,
        special_tokens=first_tokens,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
        continuing_subword_prefix="##",
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.get_vocab()


def load_tokenizer(name_or_path: str | Path) -> "PreTrainedTokenizerBase":
    """Load a fast tokenizer of transformers by name or path.

    Raises:
        UserError: There is none, it is not a fast one, or it lacks a special token that the tasks
            need.
    """
    tokenizer = open_tokenizer(str(name_or_path), "annotation needs character offsets")
    names = ("cls_token", "sep_token", "pad_token", "mask_token")
    if missing := [name for name in names if getattr(tokenizer, name) is None]:
        raise UserError(
            f"tokenizer {str(name_or_path)!r} has no {', '.join(missing)}; needed are "
            f"{', '.join(names)}"
        )
    return tokenizer


def raw_text_tokenizer(folder: Path) -> Tokenizer:
    """Return the bare tokenizer of a saved folder, set so that `[MASK]` or `[SEP]` in raw text is
    ordinary text, and a token that a person added, such as `[URL]`, stays whole.
    """
    tokenizer = Tokenizer.from_str(json.dumps(_with_own_tokens_found(folder)))
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _with_own_tokens_found(folder: Path) -> dict[str, Any]:
    """Return the settings of a saved tokenizer in which only structural tokens are special ones:
    special ones are not looked for in raw text.
    """
    settings: dict[str, Any] = json.loads((folder / "tokenizer.json").read_bytes())
    described = folder / "tokenizer_config.json"
    if not described.is_file():
        return settings
    names = json.loads(described.read_bytes())
    structural = {
        value["content"] if isinstance(value, dict) else value
        for value in (names.get(name) for name in _STRUCTURAL)
    }
    for token in settings.get("added_tokens") or []:
        token["special"] = token["special"] and token["content"] in structural
    return settings


def hides_letter_case(tokenizer: Tokenizer) -> bool:
    """Tell whether upper and lower case give the same tokens."""
    samples = ("The House of Lords", "ÄRGER Über Élan", "A B C X Y Z")
    return all(tokenizer.encode(s).ids == tokenizer.encode(s.lower()).ids for s in samples)


def vocabulary_hash(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return the SHA-256 of the token -> id table."""
    table = json.dumps(
        sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]), ensure_ascii=False
    )
    return hashlib.sha256(table.encode()).hexdigest()


@dataclass(frozen=True)
class TokenizerFacts:
    """What a corpus needs to know of its tokenizer."""

    vocabulary: Vocabulary
    hash: str
    unknown_id: int | None
    """None where no token stands for unknown ones."""

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase") -> "TokenizerFacts":
        """Look them up."""
        return cls(vocabulary_of(tokenizer), vocabulary_hash(tokenizer), tokenizer.unk_token_id)


def vocabulary_of(tokenizer: "PreTrainedTokenizerBase") -> Vocabulary:
    """Return what tasks need to know of a tokenizer."""
    table = tokenizer.get_vocab()
    size = max(table.values()) + 1
    special = np.zeros(size, dtype=bool)
    special[tokenizer.all_special_ids] = True
    # Not all that were added as special ones are among those.
    special[[n for n, added in tokenizer.added_tokens_decoder.items() if added.special]] = True
    known = np.zeros(size, dtype=bool)
    known[list(table.values())] = True
    names = {number: token for token, number in table.items()}
    ordinary = np.flatnonzero(known & ~special)
    return Vocabulary(
        size,
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
        tokenizer.pad_token_id,
        tokenizer.mask_token_id,
        special,
        ordinary,
        tuple(names.get(number, "") for number in range(size)),
    )
