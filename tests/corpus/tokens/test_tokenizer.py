"""The tokenizer of a corpus: trained the same everywhere, loaded with clear refusals, blind to
special tokens in raw text.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    BertTokenizer,
    ByT5Tokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.tokens.cached_tokenizer import PieceTokenizer
from ernie_cmtl.corpus.tokens.tokenizer import (
    SPECIAL_TOKENS,
    TokenizerConfig,
    load_tokenizer,
    raw_text_tokenizer,
    train_wordpiece,
    vocabulary_hash,
    vocabulary_of,
    with_words_cut,
)
from ernie_cmtl.data.masking import mask_units
from ernie_cmtl.errors import UserError
from tests.support.corpora import make_corpus, sample_texts, write_jsonl

TRAIN_AND_PRINT = """
import json, sys
from ernie_cmtl.corpus.tokens.tokenizer import TokenizerConfig, train_wordpiece
texts = json.loads(sys.stdin.read())
tokenizer = train_wordpiece(texts, TokenizerConfig(vocabulary_size=3000))
print(json.dumps(tokenizer.get_vocab(), sort_keys=True))
assert "torch" not in sys.modules, "training a tokenizer needs no torch"
"""

LOAD_AND_PRINT = """
import sys
from ernie_cmtl.corpus.tokens.tokenizer import load_tokenizer
load_tokenizer(sys.argv[1])
print("torch" in sys.modules)
"""


def texts_full_of_ties() -> list[str]:
    """Made-up words of many alphabets, all equally frequent: whatever leaves room for chance shows
    here.
    """
    letters = "abcdefghijklmnopqrstuvwxyzéßαβγабвгдежかなカ한글ñü"
    digests = [hashlib.sha256(str(number).encode()).digest() for number in range(2000)]
    words = [
        "".join(letters[byte % len(letters)] for byte in digest[: 2 + digest[31] % 8])
        for digest in digests
    ]
    return [" ".join(words[start : start + 100] * 2) for start in range(0, len(words), 100)]


def test_training_is_the_same_in_another_process_and_another_order() -> None:
    texts = texts_full_of_ties() + sample_texts("zh")
    found = subprocess.run(
        [sys.executable, "-c", TRAIN_AND_PRINT],
        input=json.dumps(texts).encode(),
        env=os.environ | {"PYTHONHASHSEED": "12345"},
        stdout=subprocess.PIPE,
        check=True,
    )
    there, here = (
        json.loads(found.stdout),
        train_wordpiece(texts[::-1], TokenizerConfig(vocabulary_size=3000)).get_vocab(),
    )
    assert len(there) == 3000
    assert there == here


def test_a_trained_tokenizer_is_uncased_berts_with_the_special_tokens_first() -> None:
    tokenizer = train_wordpiece(sample_texts("en"), TokenizerConfig(vocabulary_size=1000))
    table = tokenizer.get_vocab()
    assert [token for token, _ in sorted(table.items(), key=lambda item: item[1])][
        :5
    ] == SPECIAL_TOKENS
    assert sorted(table.values()) == list(range(1000))
    assert tokenizer("The CLASS naïve").input_ids == tokenizer("the class naive").input_ids
    assert tokenizer.decode(tokenizer("the class").input_ids) == "[CLS] the class [SEP]"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_trained_vocabulary_has_no_more_entries_than_asked_for(language: str) -> None:
    tokenizer = train_wordpiece(sample_texts(language), TokenizerConfig(vocabulary_size=600))
    assert len(tokenizer) <= 600


def test_rare_pieces_are_left_out_of_a_trained_vocabulary() -> None:
    texts = ["common word common word rare"]
    once, often = [
        train_wordpiece(texts, TokenizerConfig(minimum_frequency=n)).get_vocab() for n in (1, 2)
    ]
    assert {"common", "word", "rare"} <= set(once)
    assert {"common", "word"} <= set(often)
    assert "rare" not in often


@pytest.mark.parametrize("letters", ["a", "acgt", "กขคงจ"])
@pytest.mark.timeout(60)
def test_a_word_of_200_000_letters_ends_the_training_of_a_vocabulary(letters: str) -> None:
    rng = np.random.default_rng(0)
    word = "".join(rng.choice([*letters], 200_000))
    texts = ["an ordinary text, " * 20, f"before {word} after"]
    found = train_wordpiece(texts, TokenizerConfig(minimum_frequency=1))
    assert {"ordinary", "before", "after"} <= found.get_vocab().keys()
    # What is learned of a word is what the tokenizer can use: it knows one of 100 letters.
    assert "[UNK]" not in found.tokenize(word[:100])
    assert found.tokenize(word[:101]) == ["[UNK]"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" * 250 + " b", "a" * 100 + " b"),
        (f"x {'é' * 101}, {'b' * 100}\n", f"x {'é' * 100}, {'b' * 100}\n"),
        ("百" * 300, "百" * 300),
        ("ab/cd-" * 40, "ab/cd-" * 40),
        ("ab“cd—" * 40, "ab“cd—" * 40),
        (f"{'a' * 120}百{'b' * 120}", f"{'a' * 100}百{'b' * 100}"),
    ],
)
def test_only_words_are_cut_and_not_what_stands_between_them(text: str, expected: str) -> None:
    assert with_words_cut(text) == expected


def test_special_tokens_written_in_raw_text_are_ordinary_text(tmp_path: Path) -> None:
    texts = ["mark [MASK] or [SEP] and [CLS] [PAD] [UNK] here", "[MASK][MASK]", "a[SEP]"]
    train_wordpiece([*texts, *texts], TokenizerConfig()).save_pretrained(str(tmp_path))
    special = set(range(len(SPECIAL_TOKENS)))
    tokenizer = raw_text_tokenizer(tmp_path)
    for text, found in zip(texts, PieceTokenizer(tokenizer)(texts), strict=True):
        assert not special & set(tokenizer.encode(text, add_special_tokens=False).ids)
        assert not special & set(found.token_ids.tolist())
        assert tokenizer.decode(found.token_ids.tolist()).replace(" ", "") == text.lower().replace(
            " ", ""
        )


def save_with_own_tokens(folder: Path) -> Path:
    """A tokenizer with tokens of a person: two special ones, by either way, and an ordinary one."""
    tokenizer = train_wordpiece(sample_texts("en", 12), TokenizerConfig(vocabulary_size=1000))
    tokenizer.add_special_tokens({"extra_special_tokens": ["[URL]"]})
    tokenizer.add_tokens([AddedToken("[USER]", special=True)], special_tokens=True)
    tokenizer.add_tokens(["<num>"])
    tokenizer.save_pretrained(str(folder))
    return folder


def test_tokens_that_a_person_added_stay_whole_in_raw_text(tmp_path: Path) -> None:
    folder = save_with_own_tokens(tmp_path / "given")
    tokenizer = raw_text_tokenizer(folder)
    own = {name: tokenizer.token_to_id(name) for name in ("[URL]", "[USER]", "<num>")}
    text = "see [URL] by[USER], <num> times [MASK] [SEP][CLS]"
    (found,) = PieceTokenizer(tokenizer)([text])
    ids = found.token_ids.tolist()
    assert [number for number in ids if number in own.values()] == list(own.values())
    assert [
        text[start]
        for start, number in zip(found.starts, ids, strict=True)
        if number in own.values()
    ] == ["[", "[", "<"]
    assert not set(range(len(SPECIAL_TOKENS))) & set(ids)


def test_special_tokens_that_a_person_added_are_never_masked_nor_drawn(tmp_path: Path) -> None:
    folder = save_with_own_tokens(tmp_path / "given")
    text = write_jsonl(
        tmp_path / "text.jsonl",
        [f"{text[:300]} [URL] and [USER] <num>" for text in sample_texts("en", 12)],
    )
    make_corpus(
        [str(text)], tmp_path / "corpus", tokenizer={"name_or_path": str(folder)}, layers={}
    )
    corpus = Corpus(tmp_path / "corpus")
    table = corpus.tokenizer.get_vocab()
    special, ordinary = [table["[URL]"], table["[USER]"]], table["<num>"]
    vocabulary = corpus.vocabulary
    assert vocabulary.special[special].all()
    assert not set(special) & set(vocabulary.ordinary_ids.tolist())
    assert not vocabulary.special[ordinary]
    token_ids = np.concatenate(
        [
            np.load(path).astype(np.int64)
            for path in sorted((tmp_path / "corpus" / "shards").glob("*/token_ids.npy"))
        ]
    )
    assert [np.count_nonzero(token_ids == number) for number in (*special, ordinary)] == [12] * 3
    rng = np.random.default_rng(0)
    found = mask_units(token_ids, np.ones(len(token_ids), np.uint8), vocabulary, 0.9, rng)
    assert found
    masked, _ = found
    for number in special:
        assert np.array_equal(masked == number, token_ids == number)
    assert np.count_nonzero(masked == ordinary) < 12


def test_raw_text_is_neither_truncated_nor_padded(tmp_path: Path) -> None:
    tokenizer = train_wordpiece(["word word"], TokenizerConfig())
    tokenizer.backend_tokenizer.enable_truncation(8)
    tokenizer.backend_tokenizer.enable_padding(length=16)
    tokenizer.save_pretrained(str(tmp_path))
    ids = raw_text_tokenizer(tmp_path).encode("word " * 50, add_special_tokens=False).ids
    assert len(ids) == 50


def save_slow(folder: Path) -> None:
    ByT5Tokenizer().save_pretrained(str(folder))


def save_without_mask(folder: Path) -> None:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "pad_token": "[PAD]"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(str(folder))


def save_empty(folder: Path) -> None:
    folder.mkdir()


def save_damaged(folder: Path) -> None:
    BertTokenizer(
        vocab={token: number for number, token in enumerate(SPECIAL_TOKENS)}
    ).save_pretrained(str(folder))
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")


def save_a_model_without_its_tokenizer(folder: Path) -> None:
    """Transformers makes a tokenizer of five special tokens out of this; a corpus of [UNK] would
    follow.
    """
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (save_slow, "not a fast one"),
        (
            save_without_mask,
            "has no sep_token, mask_token; needed are cls_token, sep_token, pad_token, mask_token",
        ),
        (save_empty, "cannot load a tokenizer"),
        (save_damaged, "cannot load a tokenizer"),
        (save_a_model_without_its_tokenizer, "tokenizer"),
        (lambda folder: None, "cannot load a tokenizer"),
    ],
    ids=["slow", "no mask token", "empty folder", "damaged", "model without tokenizer", "missing"],
)
def test_a_tokenizer_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, save: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "given"
    save(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_tokenizer(folder)
    assert str(folder) in str(caught.value)


def test_a_saved_wordpiece_is_loaded_without_torch_and_is_the_one_that_the_library_finds(
    english: Corpus,
) -> None:
    folder = english.folder / "tokenizer"
    answer = subprocess.run(
        [sys.executable, "-c", LOAD_AND_PRINT, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "False"
    found, expected = load_tokenizer(folder), AutoTokenizer.from_pretrained(str(folder))
    assert type(found) is type(expected)
    assert found.get_vocab() == expected.get_vocab()
    assert found.init_kwargs == expected.init_kwargs


def test_the_vocabulary_marks_special_tokens_and_offers_the_others(english: Corpus) -> None:
    vocabulary = vocabulary_of(english.tokenizer)
    assert vocabulary.size == 2000
    assert np.flatnonzero(vocabulary.special).tolist() == [0, 1, 2, 3, 4]
    assert vocabulary.ordinary_ids.tolist() == list(range(5, 2000))
    found = (vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id)
    assert found == (0, 2, 3, 4)


def sparse_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer whose ids have holes, with an extra special token at the end."""
    table = {"x": 9, "[MASK]": 2, "[UNK]": 12, "y": 3, "[CLS]": 4, "[SEP]": 7, "[PAD]": 5}
    words = Tokenizer(models.WordLevel(table, unk_token="[UNK]"))
    names = {
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
    }
    return PreTrainedTokenizerFast(tokenizer_object=words, extra_special_tokens=["[SPOT]"], **names)


def test_ids_that_no_token_has_are_never_offered() -> None:
    tokenizer = sparse_tokenizer()
    vocabulary = vocabulary_of(tokenizer)
    spot = tokenizer.convert_tokens_to_ids("[SPOT]")
    assert vocabulary.size == max(12, spot) + 1
    assert set(np.flatnonzero(vocabulary.special)) == {2, 4, 5, 7, 12, spot}
    assert vocabulary.ordinary_ids.tolist() == [3, 9]


def test_the_vocabulary_hash_changes_with_tokens_and_with_their_numbers() -> None:
    tables = [["a", "b"], ["b", "a"], ["a", "c"], ["a", "b"]]
    tokenizers = [
        BertTokenizer(vocab={token: n for n, token in enumerate(SPECIAL_TOKENS + table)})
        for table in tables
    ]
    hashes = [vocabulary_hash(tokenizer) for tokenizer in tokenizers]
    assert len(set(hashes)) == 3
    assert hashes[0] == hashes[3]
