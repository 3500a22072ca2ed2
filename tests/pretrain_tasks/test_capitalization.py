"""Labels of letter case, derived again from the raw text."""

import re
from pathlib import Path

import pytest
from transformers import BertTokenizer

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Example
from ernie_cmtl.run.instances import make_instance
from tests.support.corpora import build_corpus

TEXTS = [
    "The House of Lords met in London. NASA sent three rockets (the Saturn V, mostly) to the "
    "moon! Did O'Brien see it?",
    'An iPhone costs 300 dollars; a 3D printer costs more. Jean-Luc said: "Never mind, Élan is a '
    'word." The moon is far.',
    "École normale in Paris. Ärger über London, says the House. ÜBER ALLES? No, e.g. Saturn and "
    "mostly rockets of NASA.",
]
LENGTH = 16
"""Short windows, so that some begin or end within a word."""


def build(folder: Path, texts: list[str], tokenizer: str | Path | None = None) -> Corpus:
    kind = {"tokenizer": {"name_or_path": str(tokenizer)}} if tokenizer else {}
    build_corpus(folder, texts, heldout_fraction=0, **kind)
    return Corpus(folder / "corpus")


def examples_in_text_order(
    corpus: Corpus, length: int = LENGTH
) -> list[tuple[int, int, Example | None]]:
    """(first token, one past the last, example) of every window."""
    stream = SampleStream(
        make_instance("capitalization", 0, TaskConfig(), corpus),
        corpus.split("train"),
        length,
        seed=1,
    )
    found = [(*stream.place(number), stream.example(number)) for number in range(len(stream))]
    return sorted(found, key=lambda window: window[0])


def expected_tokens_and_labels(
    texts: list[str], corpus: Corpus
) -> tuple[list[int], list[int | None]]:
    """Word by word: the pieces of the word alone, and at the first piece its case, if it begins
    with a letter.
    """
    tokens: list[int] = []
    labels: list[int | None] = []
    for text in texts:
        for word in re.findall(r"\w+|[^\w\s]", text):
            pieces = corpus.tokenizer(word, add_special_tokens=False)["input_ids"]
            tokens += pieces
            labels += [
                int(word[0].isupper()) if word[0].isalpha() else None,
                *[None] * (len(pieces) - 1),
            ]
    return tokens, labels


def labels_by_position(example: Example | None) -> dict[int, int]:
    if example is None:
        return {}
    targets = example.targets["capital"]
    return dict(zip((targets.positions - 1).tolist(), targets.labels.tolist(), strict=True))


def test_each_word_is_labelled_with_its_case_in_the_text(tmp_path):
    corpus = build(tmp_path, TEXTS)
    tokens, labels = expected_tokens_and_labels(TEXTS, corpus)
    found = 0
    for start, stop, example in examples_in_text_order(corpus):
        expected = {
            place: label for place, label in enumerate(labels[start:stop]) if label is not None
        }
        assert labels_by_position(example) == expected
        if example:
            assert example.token_ids[1:-1].tolist() == tokens[start:stop]
        found += len(expected)
    assert found == sum(label is not None for label in labels)
    assert labels.count(1) > 20
    assert labels.count(0) > 30
    assert any(label is None for label in labels)


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_the_input_does_not_show_the_case(tmp_path, case):
    corpus = build(tmp_path / "mixed", TEXTS)
    plain = build(tmp_path / "plain", [case(text) for text in TEXTS], corpus.folder / "tokenizer")
    windows, changed = examples_in_text_order(corpus), examples_in_text_order(plain)
    shown: list[int] = []
    for (start, stop, one), (first, last, other) in zip(windows, changed, strict=True):
        assert (start, stop) == (first, last)
        assert (one is None) == (other is None)
        if one is None or other is None:
            continue
        assert one.token_ids.tolist() == other.token_ids.tolist()
        assert one.token_type_ids.tolist() == other.token_type_ids.tolist()
        assert list(labels_by_position(one)) == list(labels_by_position(other))
        assert set(labels_by_position(other).values()) == {int(case is str.upper)}
        shown += list(labels_by_position(one).values())
    assert shown.count(0) > 30
    assert shown.count(1) > 20


def test_an_unknown_word_has_no_label(tmp_path, english):
    text = "The Ωμέγα and the Ψ are Letters."
    corpus = build(tmp_path, [text, "The end."], english.folder / "tokenizer")
    unknown = corpus.tokenizer.unk_token_id
    example = examples_in_text_order(corpus, length=64)[0][2]
    assert example is not None
    ids = example.token_ids[1:-1].tolist()
    assert unknown in ids
    labels = labels_by_position(example)
    assert not any(ids[position] == unknown for position in labels)
    assert list(labels.values()) == [1, 0, 0, 0, 1]


def test_window_without_a_letter_gives_no_example(tmp_path):
    corpus = build(tmp_path, ["1 2 3 4 5 6 7 8 9 10 11 12 13 14 15, 16. 17", *TEXTS])
    assert examples_in_text_order(corpus)[0][2] is None


def cased_tokenizer(folder: Path) -> Path:
    words = sorted({word for text in TEXTS for word in re.findall(r"\w+|[^\w\s]", text)})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    tokenizer = BertTokenizer(
        vocab={token: number for number, token in enumerate(vocabulary)}, do_lower_case=False
    )
    tokenizer.save_pretrained(str(folder))
    return folder


def test_corpus_of_a_cased_tokenizer_is_refused(tmp_path):
    corpus = build(tmp_path, TEXTS, cased_tokenizer(tmp_path / "cased"))
    with pytest.raises(
        UserError,
        match=r"'capitalization' needs layer 'letter_case'.*its tokenizer keeps letter case",
    ):
        make_instance("capitalization", 0, TaskConfig(), corpus)
    # The corpus is good for the others.
    assert (
        make_instance("sentence_reordering", 0, TaskConfig(), corpus).name == "sentence_reordering"
    )


def test_chinese_corpus_is_refused_with_the_languages(chinese):
    with pytest.raises(UserError, match=r"'capitalization' supports en; the corpus is 'zh'"):
        make_instance("capitalization", 0, TaskConfig(), chinese)
