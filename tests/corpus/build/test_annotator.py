"""Annotation: words, letter case and sentences, each re-derived from the text."""

import re
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate, pairwise

import pytest
import rjieba
import sentencex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizer

from ernie_cmtl.corpus.build.annotator import Annotator
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.tokens.tokenizer import TokenizerConfig, train_wordpiece
from ernie_cmtl.records import AnnotatedText, Language
from tests.support.corpora import sample_texts

ASCII_WORD = re.compile(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]")


@pytest.fixture(scope="module")
def annotate_english(english: Corpus) -> Annotator:
    return Annotator.load(english.folder / "tokenizer", "en")


@pytest.fixture(scope="module")
def annotate_chinese(chinese: Corpus) -> Annotator:
    return Annotator.load(chinese.folder / "tokenizer", "zh")


@pytest.fixture(scope="module")
def annotate_latin(tmp_path_factory: pytest.TempPathFactory) -> Annotator:
    """Knows every letter used below, in pieces short enough that most words have several."""
    folder = tmp_path_factory.mktemp("latin")
    words = "élan über naïve façade straße œuvre ærø łódź señor ǆ"
    train_wordpiece(
        [*sample_texts("en")[:5], words, words], TokenizerConfig(vocabulary_size=300)
    ).save_pretrained(str(folder))
    return Annotator.load(folder, "en")


def spans(tokenizer: Tokenizer, text: str) -> list[tuple[int, int]]:
    """First and last + 1 character of each token."""
    return [tuple(span) for span in tokenizer.encode(text, add_special_tokens=False).offsets]


def firsts(tokenizer: Tokenizer, text: str) -> list[int]:
    return [start for start, _ in spans(tokenizer, text)]


def case_of(character: str) -> int:
    return 2 if character.isupper() else 1 if character.islower() else 0


def sentences(annotator: Annotator, text: str) -> list[str]:
    """The text of each sentence, from its first token to the first of the next sentence."""
    (found,) = annotator.annotate([text])
    starts = [*firsts(annotator.tokenizer, text), len(text)]
    return [
        text[starts[first] : starts[last]].strip()
        for first, last in pairwise(found.sentence_offsets.tolist())
    ]


# Words


def test_english_words_are_those_between_white_space_and_punctuation(
    annotate_english: Annotator,
) -> None:
    texts = [text for text in sample_texts("en") if text.isascii()]
    assert len(texts) > 10
    tokens = inner = 0
    for text, found in zip(texts, annotate_english.annotate(texts), strict=True):
        begins = {match.start() for match in ASCII_WORD.finditer(text)}
        starts = firsts(annotate_english.tokenizer, text)
        assert found.layers["word_starts"].tolist() == [int(start in begins) for start in starts]
        tokens, inner = tokens + len(starts), inner + sum(start not in begins for start in starts)
    assert 0 < inner < tokens / 2


def test_chinese_words_are_those_of_the_segmenter(annotate_chinese: Annotator) -> None:
    texts = [
        *sample_texts("zh"),
        "我们在北京大学学习中文，也学Python 3.14。他 来到\n了网易杭研大厦。",
    ]
    for text, found in zip(texts, annotate_chinese.annotate(texts), strict=True):
        begins = list(accumulate(map(len, rjieba.cut(text)), initial=0))
        starts = firsts(annotate_chinese.tokenizer, text)
        words = [bisect_right(begins, start) for start in starts]
        assert found.layers["word_starts"].tolist() == [1] + [
            int(here != before) for before, here in pairwise(words)
        ]
        assert len(set(words)) < len(words)


def test_a_chinese_sentence_is_cut_into_the_words_a_reader_sees(
    annotate_chinese: Annotator,
) -> None:
    words = ["我们", "在", "北京大学", "学习", "中文", "。"]
    (found,) = annotate_chinese.annotate(["".join(words)])
    assert found.layers["word_starts"].tolist() == [1, 0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1]


# Each character in the middle is one that the tokenizer drops: it must not cut the word in two.
@pytest.mark.parametrize(
    "dropped",
    ["\u00ad", "\x00", "\u200d", "\ufeff"],
    ids=["soft hyphen", "nul", "joiner", "byte order mark"],
)
def test_a_character_that_makes_no_token_ends_no_word(
    annotate_latin: Annotator, dropped: str
) -> None:
    plain, broken = annotate_latin.annotate(["a coopexrzation", f"a coope{dropped}xrzation"])
    assert plain.token_ids.tolist() == broken.token_ids.tolist(), (
        "without equal tokens the test means nothing"
    )
    assert len(plain.token_ids) > 4
    assert (
        broken.layers["word_starts"].tolist()
        == plain.layers["word_starts"].tolist()
        == [1, 1] + [0] * (len(plain.token_ids) - 2)
    )


# Letter case


@pytest.mark.parametrize("language", ["en", "zh"])
def test_letter_case_at_word_starts_is_that_of_the_source_text(
    language: Language, english: Corpus, chinese: Corpus, annotate_latin: Annotator
) -> None:
    annotators = [
        annotate_latin,
        Annotator.load((english if language == "en" else chinese).folder / "tokenizer", language),
    ]
    text = (
        "Das Élan-vital der ÜBERGRÖSSE: naïve Façade, Ærø (łódź) Señor iPhone x2 3D ABC. "
        "我们用Python和 numpy学习。"
    )
    for annotator in annotators:
        for source in [text, *sample_texts(language)]:
            (found,) = annotator.annotate([source])
            rows = zip(firsts(annotator.tokenizer, source), *found.layers.values(), strict=True)
            for start, word, case in rows:
                assert case == (case_of(source[start]) if word else 0), source[start : start + 20]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("abzABZéÉüÜßñÑçÇœŒłŁøØæÆ", min_size=1, max_size=8), min_size=1, max_size=10)
)
def test_letter_case_holds_for_accented_words(annotate_latin: Annotator, words: list[str]) -> None:
    text = " ".join(words)
    (found,) = annotate_latin.annotate([text])
    starts = [int(bool(flag)) for flag in found.layers["word_starts"]]
    cases = [int(case) for case in found.layers["letter_case"]]
    assert [case for case, start in zip(cases, starts, strict=True) if start] == [
        case_of(word[0]) for word in words
    ]
    assert not any(case for case, start in zip(cases, starts, strict=True) if not start)


def test_a_cased_tokenizer_yields_no_layer_of_letter_case(english: Corpus) -> None:
    table = dict(english.tokenizer.get_vocab()) | {
        letter.upper(): 2000 + n for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")
    }
    cased = Annotator(BertTokenizer(vocab=table, do_lower_case=False).backend_tokenizer, "en")
    uncased = Annotator(BertTokenizer(vocab=table, do_lower_case=True).backend_tokenizer, "en")
    text = ["The House of Lords"]
    assert set(cased.annotate(text)[0].layers) == set(cased.layers) == {"word_starts"}
    assert (
        set(uncased.annotate(text)[0].layers)
        == set(uncased.layers)
        == {"word_starts", "letter_case"}
    )


# Sentences


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (
            "en",
            [
                "The cat sat.",
                "Dogs ran away!",
                "A heading",
                "Does a new paragraph begin?",
                "It does: in version 3.5 of the text.",
            ],
        ),
        (
            "zh",
            [
                "今天下雨。",
                "我们走吧！",
                "标题",
                "新的一段开始了吗？",
                "他说：“是的。”",
                "然后走了。",
            ],
        ),
    ],
)
@pytest.mark.parametrize("paragraph", ["\n\n", "\n \n\n"])
def test_sentences_are_those_a_reader_sees_and_paragraph_breaks_are_none(
    language: Language,
    expected: list[str],
    paragraph: str,
    annotate_english: Annotator,
    annotate_chinese: Annotator,
) -> None:
    gap = " " if language == "en" else ""
    text = paragraph.join([gap.join(expected[:2]), expected[2], gap.join(expected[3:])])
    assert sentences(annotate_english if language == "en" else annotate_chinese, text) == expected


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_token_stands_in_the_sentence_of_its_first_character(
    language: Language, annotate_english: Annotator, annotate_chinese: Annotator
) -> None:
    annotator = annotate_english if language == "en" else annotate_chinese
    for text in sample_texts(language):
        (found,) = annotator.annotate([text])
        rows = sentencex.get_sentence_boundaries(language, text)
        begins = [row["start_index"] for row in rows if not row["is_paragraph_break"]]
        numbers = [bisect_right(begins, start) for start in firsts(annotator.tokenizer, text)]
        changes = [
            place
            for place, (before, here) in enumerate(pairwise(numbers), start=1)
            if before != here
        ]
        assert found.sentence_offsets.tolist() == [0, *changes, len(numbers)]


def assert_covers_all_tokens(text: str, found: AnnotatedText, annotator: Annotator) -> None:
    ids = annotator.tokenizer.encode(text, add_special_tokens=False).ids
    offsets = found.sentence_offsets.tolist()
    assert found.token_ids.tolist() == ids
    assert (offsets[0], offsets[-1]) == (0, len(ids))
    assert all(first < last for first, last in pairwise(offsets))
    assert all(len(layer) == len(ids) for layer in found.layers.values())
    assert not ids or found.layers["word_starts"][0] == 1


@pytest.mark.parametrize("language", ["en", "zh"])
@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(
        st.text('aeT 中文é\u0301.。!！?"”(),;…1\n\n\t\r\x00\u00ad\u200b😀𠀀', max_size=40),
        min_size=1,
        max_size=4,
    )
)
def test_sentences_cover_the_tokens_of_any_text(
    annotate_latin: Annotator, language: Language, texts: list[str]
) -> None:
    annotator = Annotator(annotate_latin.tokenizer, language)
    for text, found in zip(texts, annotator.annotate(texts), strict=True):
        assert_covers_all_tokens(text, found, annotator)


@pytest.mark.parametrize(
    "space", ["\u00a0", "\u3000", "\u2028"], ids=lambda space: f"U+{ord(space):04X}"
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_exotic_white_space_before_a_full_stop_is_harmless(
    annotate_latin: Annotator, language: Language, space: str
) -> None:
    annotator = Annotator(annotate_latin.tokenizer, language)
    text = f"It is rich in vitamin C{space}. They sell it."
    (found,) = annotator.annotate([text])
    assert_covers_all_tokens(text, found, annotator)


# Tokenizers of other kinds


def bpe(pre: pre_tokenizers.PreTokenizer, post: processors.PostProcessor | None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre
    if post:
        tokenizer.post_processor = post
    tokenizer.train_from_iterator(
        sample_texts("en"), trainers.BpeTrainer(vocab_size=1500, show_progress=False)
    )
    return tokenizer


def sentencepiece_like() -> Tokenizer:
    """As in ALBERT, XLM-R or T5: the space belongs to the token after it, in its offsets too."""
    return bpe(pre_tokenizers.Metaspace(), None)


def roberta_like() -> Tokenizer:
    return bpe(
        pre_tokenizers.ByteLevel(add_prefix_space=True), processors.ByteLevel(trim_offsets=True)
    )


def gpt_like() -> Tokenizer:
    """The space belongs to the token after it, in its offsets too."""
    return bpe(
        pre_tokenizers.ByteLevel(add_prefix_space=True), processors.ByteLevel(trim_offsets=False)
    )


OTHERS = [sentencepiece_like, roberta_like, gpt_like]


@pytest.mark.parametrize("make", OTHERS, ids=lambda make: make.__name__)
def test_other_tokenizers_show_the_same_words_and_their_case(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    words = sorted(
        {word for text in sample_texts("en") for word in re.findall("[A-Za-z]{3,}", text)}
    )
    # A space that is a token of its own belongs to no word: keep the words whose first letter is
    # joined to it.
    words = [
        word
        for word in words
        if len(tokenizer.encode(f"a {word}", add_special_tokens=False).tokens[1]) > 1
    ][::7]
    text = " ".join(words)
    places = [(match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    tokens = spans(tokenizer, text)
    words_of_tokens = [bisect_right(places, (last - 1, len(text))) for _, last in tokens]
    begins = [1] + [int(here != before) for before, here in pairwise(words_of_tokens)]
    assert sum(begins) == len(words) < len(tokens)
    (found,) = Annotator(tokenizer, "en").annotate([text])
    assert found.layers["word_starts"].tolist() == begins
    cases = [
        case
        for case, begin in zip(found.layers["letter_case"].tolist(), begins, strict=True)
        if begin
    ]
    assert cases == [case_of(word[0]) for word in words]


@pytest.mark.parametrize("make", OTHERS, ids=lambda make: make.__name__)
def test_a_sentence_begins_with_its_own_first_token_for_other_tokenizers(
    make: Callable[[], Tokenizer],
) -> None:
    tokenizer = make()
    text = "The class is defined. Then it is called. See the function."
    (found,) = Annotator(tokenizer, "en").annotate([text])
    begins = [
        next(
            place
            for place, (_, last) in enumerate(spans(tokenizer, text))
            if last > text.index(word)
        )
        for word in ("Then", "See")
    ]
    assert found.sentence_offsets.tolist() == [0, *begins, len(spans(tokenizer, text))]


@pytest.mark.parametrize("make", OTHERS, ids=lambda make: make.__name__)
def test_line_ends_that_are_tokens_make_no_sentence(make: Callable[[], Tokenizer]) -> None:
    (found,) = Annotator(make(), "en").annotate(
        ["The class is defined.\n\nThe function is called."]
    )
    assert found.sentences == 2


def test_byte_tokens_inside_a_letter_begin_no_word() -> None:
    tokenizer = roberta_like()
    text = "the façades"
    (found,) = Annotator(tokenizer, "en").annotate([text])
    starts = [start for start, _ in spans(tokenizer, text)]
    assert starts.count(text.index("ç")) == 2, (
        "the letter must be two tokens for the test to mean anything"
    )
    assert [
        start for start, flag in zip(starts, found.layers["word_starts"], strict=True) if flag
    ] == [0, 4]
