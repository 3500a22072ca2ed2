"""Tokenizing by distinct pieces gives what the tokenizer itself gives, for any text and any
tokenizer.
"""

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from ernie_cmtl.corpus.tokens import cached_tokenizer
from ernie_cmtl.corpus.tokens.cached_tokenizer import PieceTokenizer
from ernie_cmtl.corpus.tokens.tokenizer import SPECIAL_TOKENS, TokenizerConfig, train_wordpiece
from tests.support.corpora import sample_texts

EXOTIC = "é ñ ß σ ς ü Ⅷ ﬁ ǆ 한글 ひらがな カタカナ ｱ ａ ¿ « » € № ् ำ 豈 𠀀 😀 👩‍🚀 [ ] #"
CHARACTERS = st.one_of(
    st.sampled_from("abcdeinorstTHE019 .,'-"),
    st.sampled_from("éÉñÑßẞΣσςİıüÜøﬁǅⅧ" + "\u0301\u0308\u0345\u093f\u0e33\ufe0f" + "한ひカｱａ"),
    st.sampled_from("中文字国在河，。！？「」豈𠀀\U0002f800"),
    st.sampled_from("\t\r\n\x0b\x0c\x1c\x1f\x85\xa0\u1680\u2003\u2009\u2028\u2029\u202f\u3000"),
    st.sampled_from("\x00\x01\x7f\x9f\xad\u200b\u200d\u200e\ufeff\ufffd\ue000"),
    st.sampled_from('!"#$%&()*+/:;<=>?@[\\]^_`{|}~¡«»…—“”€№😀🚀👩'),
    st.characters(exclude_categories=["Cs"]),
)
TEXTS = st.lists(
    st.lists(
        st.one_of(
            CHARACTERS,
            st.sampled_from(["the ", "function", "河流", "[MASK]", "##s", "\r\n", "e\u0301"]),
        ),
        max_size=30,
    ).map("".join),
    min_size=1,
    max_size=4,
)


def as_raw_text(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.encode_special_tokens = True
    return tokenizer


@cache
def wordpiece() -> Tokenizer:
    """A trained WordPiece with BERT's pipeline that knows some pieces of all kinds of text."""
    texts = sample_texts("en") + sample_texts("zh") + [EXOTIC] * 3
    return as_raw_text(
        train_wordpiece(texts, TokenizerConfig(vocabulary_size=3000)).backend_tokenizer
    )


@cache
def byte_level() -> Tokenizer:
    """A byte-level BPE, like GPT-2's and RoBERTa's: white space is part of the tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, initial_alphabet=alphabet, show_progress=False, special_tokens=["[MASK]"]
    )
    tokenizer.train_from_iterator(sample_texts("en") + sample_texts("zh"), trainer)
    return as_raw_text(tokenizer)


@cache
def phrases() -> Tokenizer:
    """A BPE over a whole text, whose tokens reach over white space and from one ideograph to the
    next.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFKC()
    trainer = trainers.BpeTrainer(vocab_size=1500, show_progress=False, special_tokens=["[UNK]"])
    tokenizer.train_from_iterator(
        [line for text in sample_texts("zh") for line in text.split("。")] + [EXOTIC] * 3, trainer
    )
    return as_raw_text(tokenizer)


@cache
def wordpiece_of_ideographs() -> Tokenizer:
    """A WordPiece that, unlike BERT's, does not set ideographs apart."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=3000, show_progress=False, special_tokens=SPECIAL_TOKENS
    )
    tokenizer.train_from_iterator(sample_texts("zh") + sample_texts("en"), trainer)
    return as_raw_text(tokenizer)


OTHERS = [byte_level, phrases, wordpiece_of_ideographs]


def assert_equal_to_the_tokenizers_own(tokenize: PieceTokenizer, texts: list[str]) -> None:
    for text, found in zip(texts, tokenize(texts), strict=True):
        expected = tokenize.tokenizer.encode(text, add_special_tokens=False)
        assert found.token_ids.tolist() == expected.ids
        # A white space that a token begins with is not counted to it.
        starts = [
            min(start + (end > start and text[start].isspace()), len(text) - 1)
            for start, end in expected.offsets
        ]
        assert found.starts.tolist() == starts
        assert len(found.word_starts) == len(found.letter_case) == len(expected.ids)


@settings(max_examples=100, deadline=None)
@given(TEXTS)
@example(["", " ", "\n\u0301a", "中\u0301文", "a中b\r\n c", "x" * 120 + " y"])
def test_pieces_of_any_text_give_the_tokenizers_own_ids_and_offsets(texts: list[str]) -> None:
    assert_equal_to_the_tokenizers_own(PieceTokenizer(wordpiece()), texts)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_natural_text_gives_the_tokenizers_own_ids_and_offsets(language: str) -> None:
    tokenize = PieceTokenizer(wordpiece())
    assert tokenize.splits
    assert_equal_to_the_tokenizers_own(tokenize, sample_texts(language))


@settings(max_examples=25, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=6))
def test_the_result_is_the_same_when_the_cache_is_cleared_between(batches: list[list[str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cached_tokenizer, "_CACHED_PIECES", 3)
        tokenize = PieceTokenizer(wordpiece())
        for texts in [*batches, *reversed(batches)]:
            assert_equal_to_the_tokenizers_own(tokenize, texts)


def test_the_cache_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_tokenizer, "_CACHED_PIECES", 50)
    tokenize = PieceTokenizer(wordpiece())
    for start in range(0, 1000, 20):
        texts = [f"word{number}x{number}" for number in range(start, start + 20)]
        assert_equal_to_the_tokenizers_own(tokenize, texts)
        assert len(tokenize._numbers) <= 50 + 20


def test_a_cache_that_outgrows_its_arrays_keeps_what_it_knew() -> None:
    tokenize = PieceTokenizer(wordpiece())
    tokenize._tokens, tokenize._firsts, tokenize._lengths = (
        tokenize._tokens[:8],
        tokenize._firsts[:4],
        tokenize._lengths[:2],
    )
    texts = [
        " ".join(f"{letter}{number}" for number in range(size))
        for letter, size in (("a", 2), ("b", 40), ("c", 500))
    ]
    for text in (*texts, *texts):
        assert_equal_to_the_tokenizers_own(tokenize, [text])
    assert len(tokenize._numbers) > 500


@settings(max_examples=25, deadline=None)
@given(TEXTS)
def test_new_pieces_may_be_tokenized_in_as_many_texts_as_one_likes(texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cached_tokenizer, "_PIECES_AT_ONCE", 3)
        assert_equal_to_the_tokenizers_own(PieceTokenizer(wordpiece()), texts)


def test_whole_texts_are_not_kept_in_the_cache() -> None:
    tokenize = PieceTokenizer(byte_level())
    for number in range(5):
        assert_equal_to_the_tokenizers_own(tokenize, [f"a text {number}", f"another {number}"])
        assert len(tokenize._numbers) <= 2


@pytest.mark.parametrize("make", OTHERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_tokenizers_of_another_kind_get_the_whole_text(
    make: Callable[[], Tokenizer], language: str
) -> None:
    texts = sample_texts(language)[:10]
    assert_equal_to_the_tokenizers_own(PieceTokenizer(make()), [*texts, "", texts[0]])


@pytest.mark.parametrize("make", OTHERS, ids=lambda make: make.__name__)
@settings(max_examples=60, deadline=None)
@given(texts=TEXTS)
@example(texts=["the ", "", " ", "class\u3000"])
def test_tokenizers_of_another_kind_give_their_own_ids_for_any_text(
    make: Callable[[], Tokenizer], texts: list[str]
) -> None:
    assert_equal_to_the_tokenizers_own(PieceTokenizer(make()), texts)


@pytest.mark.parametrize(
    ("added", "text"),
    [
        ("new york", "in New York now"),
        ("糖尿病", "他有糖尿病。"),
        (AddedToken("zzz", lstrip=True), "a  zzz b"),
    ],
    ids=["with a space", "ideographs", "takes the space before it"],
)
def test_words_added_to_a_vocabulary_are_found_across_pieces(
    added: str | AddedToken, text: str
) -> None:
    tokenizer = Tokenizer.from_str(wordpiece().to_str())
    tokenizer.add_tokens([added])
    tokenizer = as_raw_text(tokenizer)
    assert (
        tokenizer.get_vocab_size() - 1
        in tokenizer.encode(text.lower(), add_special_tokens=False).ids
    )
    assert_equal_to_the_tokenizers_own(PieceTokenizer(tokenizer), [text, text.lower()])
