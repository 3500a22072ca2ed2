"""Collocations against an obvious, slow reference, and units on the sample corpora."""

import csv
import math
from collections import Counter
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.corpus.layers import _mining as mining
from ernie_cmtl.corpus.layers import _ngrams as ngrams
from ernie_cmtl.corpus.layers._mining import CollocationOptions, mine
from ernie_cmtl.corpus.layers._ngrams import LONGEST, Words, words_of
from ernie_cmtl.corpus.store.corpus import Corpus, TextSplit
from ernie_cmtl.data.masking_units import span_places

Ngram = tuple[int, ...]
Sentences = list[list[int]]

# Word -> its tokens. Words 4, 5 and 8 share tokens; 6 and 7 begin with a token without letter or
# digit.
SPELLING = {
    0: (0,),
    1: (1,),
    2: (2,),
    3: (3,),
    4: (4, 10),
    5: (4, 11),
    6: (6,),
    7: (7, 10),
    8: (10, 6, 4),
}
WORDLIKE = np.array([token not in (6, 7) for token in range(12)])
NO_WORDS = (6, 7)
ALL = {"minimum_count": 2, "minimum_pmi": -math.inf}


class Score(NamedTuple):
    count: int
    pmi: float
    first: int


def make_words(sentences: Sentences) -> tuple[Words, int]:
    """Spell sentences as tokens and find their words again; return them and the number of
    tokens.
    """
    spelled = [[SPELLING[word] for word in sentence] for sentence in sentences]
    # A sentence begins a word whether or not the layer says so.
    starts = [
        int(place == 0 and (number > 0 or index % 2 == 0))
        for index, s in enumerate(spelled)
        for number, w in enumerate(s)
        for place in range(len(w))
    ]
    tokens = [token for sentence in spelled for word in sentence for token in word]
    offsets = np.cumsum([0] + [sum(map(len, sentence)) for sentence in spelled])
    return words_of(np.array(tokens), np.array(starts, dtype=np.uint8), offsets, WORDLIKE), len(
        tokens
    )


@pytest.mark.parametrize("at_once", [1, 7, 40])
def test_words_are_the_same_in_stretches_of_any_length(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(1)
    names = list(SPELLING)
    sentences = [
        [names[n] for n in chance.integers(len(names), size=chance.integers(1, 9))]
        for _ in range(30)
    ]
    whole, tokens = make_words(sentences)
    assert tokens > 80
    monkeypatch.setattr(ngrams, "_TOKENS_AT_ONCE", at_once)
    cut, _ = make_words(sentences)
    for name in ("starts", "hashes", "room"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name), err_msg=name)


def test_a_run_without_tokens_has_no_words() -> None:
    words = words_of(
        np.zeros(0, dtype=np.int64),
        np.zeros(0, dtype=np.uint8),
        np.zeros(1, dtype=np.int64),
        WORDLIKE,
    )
    assert len(words.starts) == len(words.hashes) == len(words.room) == 0


def runs(sentences: Sentences) -> list[tuple[int, list[int]]]:
    """The stretches of words that no sentence end and no symbol interrupts, each with the number of
    its first word.
    """
    found: list[tuple[int, list[int]]] = []
    number = 0
    for sentence in sentences:
        found.append((number, []))
        for word in sentence:
            number += 1
            if word in NO_WORDS:
                found.append((number, []))
            else:
                found[-1][1].append(word)
    return found


def reference(sentences: Sentences, minimum_count: int) -> dict[Ngram, Score]:
    """Count, PMI of the best segmentation, and first place of every n-gram that is frequent."""
    counts: Counter[Ngram] = Counter()
    places: dict[Ngram, int] = {}
    for first, run in runs(sentences):
        for start in range(len(run)):
            for stop in range(start + 1, min(start + LONGEST, len(run)) + 1):
                ngram = tuple(run[start:stop])
                counts[ngram] += 1
                places.setdefault(ngram, first + start)
    total = sum(map(len, sentences))

    def information(ngram: Ngram) -> float:
        return math.log(counts[ngram] / total)

    scores = {}
    for ngram, count in counts.items():
        if len(ngram) > 1 and count >= minimum_count:
            cuts = [
                (0, *inner, len(ngram))
                for n in range(1, len(ngram))
                for inner in combinations(range(1, len(ngram)), n)
            ]
            best = max(sum(information(ngram[a:b]) for a, b in pairwise(cut)) for cut in cuts)
            scores[ngram] = Score(count, information(ngram) - best, places[ngram])
    return scores


def mined(sentences: Sentences, **settings: float) -> dict[Ngram, Score]:
    """What the code under test finds, best first."""
    config = CollocationOptions.model_validate(settings)
    flat = [word for sentence in sentences for word in sentence]
    lexicon, rows = mine(make_words(sentences)[0], config)
    assert len(lexicon.hashes) == len(rows)
    found = {
        tuple(flat[place : place + length]): Score(count, pmi, place)
        for place, length, count, pmi in rows
    }
    assert len(found) == len(rows)
    return found


def expected_spans(sentences: Sentences, lexicon: set[Ngram]) -> list[int]:
    """Read from the left and always take the longest collocation that starts here."""
    marks = [0] * sum(map(len, sentences))
    for first, run in runs(sentences):
        place = 0
        while place < len(run):
            lengths = [
                n
                for n in range(2, LONGEST + 1)
                if place + n <= len(run) and tuple(run[place : place + n]) in lexicon
            ]
            longest = max(lengths, default=1)
            if lengths:
                marks[first + place : first + place + longest] = [1] + [2] * (longest - 1)
            place += longest
    flat = [word for sentence in sentences for word in sentence]
    return [
        mark
        for word, begin in zip(flat, marks, strict=True)
        for mark in [begin] + [2 if begin else 0] * (len(SPELLING[word]) - 1)
    ]


def assert_equal_scores(found: dict[Ngram, Score], expected: dict[Ngram, Score]) -> None:
    assert {ngram: (s.count, s.first) for ngram, s in found.items()} == {
        ngram: (s.count, s.first) for ngram, s in expected.items()
    }
    assert {ngram: s.pmi for ngram, s in found.items()} == pytest.approx(
        {ngram: s.pmi for ngram, s in expected.items()}, abs=1e-9
    )


def random_sentences(seed: int, count: int = 120) -> Sentences:
    """Words of uneven frequency, with a few phrases in between."""
    rng = np.random.default_rng(seed)
    phrases = [[0, 1], [2, 4, 5], [8, 3, 0, 2], [1, 5, 8, 4, 3], [0, 1, 8]]
    sentences: Sentences = []
    for _ in range(count):
        parts = [
            phrases[rng.integers(5)] if rng.random() < 0.3 else [int(rng.integers(9))]
            for _ in range(rng.integers(1, 9))
        ]
        sentences.append([word for part in parts for word in part])
    return sentences


# Sentences long enough for n-grams of every length to come back.
SENTENCES = st.lists(
    st.lists(st.sampled_from([0, 0, 0, 1, 1, 2, 4, 5, 6, 7, 8]), min_size=1, max_size=14),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(SENTENCES)
def test_counts_scores_and_first_places_equal_the_reference(sentences: Sentences) -> None:
    assert_equal_scores(mined(sentences, **ALL), reference(sentences, 2))


@settings(max_examples=60, deadline=None)
@given(SENTENCES, st.integers(0, 8))
def test_spans_equal_the_reference_longest_first_from_the_left(
    sentences: Sentences, maximum: int
) -> None:
    config = CollocationOptions.model_validate(ALL | {"maximum": maximum})
    words, tokens = make_words(sentences)
    lexicon, _ = mine(words, config)
    kept = set(mined(sentences, **ALL, maximum=maximum))
    assert lexicon.spans(words, tokens).tolist() == expected_spans(sentences, kept)


@settings(max_examples=40, deadline=None)
@given(SENTENCES, st.integers(1, 6))
def test_blocks_of_whatever_size_give_the_same(sentences: Sentences, size: int) -> None:
    config = CollocationOptions.model_validate(ALL)
    words, tokens = make_words(sentences)
    lexicon, rows = mine(words, config)
    marks = lexicon.spans(words, tokens)
    with pytest.MonkeyPatch.context() as patch:
        for module in (mining, ngrams):
            patch.setattr(module, "BLOCK", size)
        # So few buckets that most n-grams share theirs with others.
        patch.setattr(mining, "_TABLE_BITS", 2)
        found, found_rows = mine(words, config)
        assert (found.hashes.tolist(), found_rows) == (lexicon.hashes.tolist(), rows)
        assert found.spans(words, tokens).tolist() == marks.tolist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("minimum_count", "minimum_pmi"), [(2, 0.5), (5, 0.2), (12, 1.2)])
def test_a_random_corpus_is_mined_as_by_the_reference(
    seed: int, minimum_count: int, minimum_pmi: float
) -> None:
    sentences = random_sentences(seed)
    every = reference(sentences, minimum_count)
    wanted = {ngram: score for ngram, score in every.items() if score.pmi >= minimum_pmi}
    assert 0 < len(wanted) < len(every)
    assert any(len(ngram) == LONGEST for ngram in every)
    found = mined(sentences, minimum_count=minimum_count, minimum_pmi=minimum_pmi)
    assert_equal_scores(found, wanted)
    scores = [score.pmi for score in found.values()]
    assert scores == sorted(scores, reverse=True)
    words, tokens = make_words(sentences)
    lexicon, _ = mine(
        words, CollocationOptions(minimum_count=minimum_count, minimum_pmi=minimum_pmi)
    )
    assert lexicon.spans(words, tokens).tolist() == expected_spans(sentences, set(wanted))


@pytest.mark.parametrize("maximum", [0, 1, 7])
def test_no_more_than_the_maximum_are_kept_and_those_are_the_best(maximum: int) -> None:
    sentences = random_sentences(5)
    best = sorted((score.pmi for score in reference(sentences, 2).values()), reverse=True)[:maximum]
    found = mined(sentences, **ALL, maximum=maximum)
    assert [score.pmi for score in found.values()] == pytest.approx(best)


def test_no_ngram_crosses_a_sentence_end_or_a_symbol() -> None:
    together = [[0, 1]] * 6
    ended = [[2], [3]] * 6
    symbol = [[4, 6, 5]] * 6 + [[4, 7, 5]] * 6
    assert set(mined(together + ended + symbol, **ALL)) == {(0, 1)}


def test_a_lexicon_from_one_text_marks_another() -> None:
    lexicon, _ = mine(
        make_words([[0, 1, 2], [3, 8], [0, 1, 2]])[0], CollocationOptions.model_validate(ALL)
    )
    words, tokens = make_words([[3, 0, 1, 2, 0, 1], [1, 2, 6, 0], [1], [0, 1, 8]])
    expected = [0, 1, 2, 2, 1, 2, 1, 2, 0, 0, 0, 1, 2, 0, 0, 0]
    assert lexicon.spans(words, tokens).tolist() == expected


# On the sample corpora


def word_sentences(corpus: Corpus, split: TextSplit) -> list[list[tuple[int, ...]]]:
    """Sentences of words, each word its token ids, from the stored arrays."""
    sentences = []
    for start, stop in pairwise(split.sentence_offsets.tolist()):
        passage = split.passage(start, stop, ("word_starts",))
        words: list[list[int]] = []
        for token, begins in zip(
            passage.token_ids.tolist(), passage.layers["word_starts"].tolist(), strict=True
        ):
            if begins or not words:
                words.append([])
            words[-1].append(token)
        sentences.append([tuple(word) for word in words])
    return sentences


def phrase_counts(corpus: Corpus) -> Counter[str]:
    """How often each n-gram of words stands in the training split, by its decoded text; a symbol
    interrupts.
    """
    counts: Counter[tuple[tuple[int, ...], ...]] = Counter()
    readable = {
        token: corpus.tokenizer.decode([token]) for token in range(corpus.manifest.vocabulary_size)
    }
    special = set(corpus.tokenizer.all_special_ids)
    for words in word_sentences(corpus, corpus.split("train")):
        interrupts = [
            word[0] in special or not any(c.isalnum() for c in readable[word[0]]) for word in words
        ]
        for start in range(len(words)):
            for stop in range(start + 1, min(start + LONGEST, len(words)) + 1):
                if interrupts[stop - 1]:
                    break
                if stop - start > 1:
                    counts[tuple(words[start:stop])] += 1
    frequent = [(ngram, count) for ngram, count in counts.items() if count >= 4]
    phrases = corpus.tokenizer.batch_decode(
        [[token for word in ngram for token in word] for ngram, _ in frequent]
    )
    return Counter({phrase: count for phrase, (_, count) in zip(phrases, frequent, strict=True)})


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_the_listed_collocations_are_frequent_phrases_of_the_training_text(
    language: str, request: pytest.FixtureRequest
) -> None:
    corpus: Corpus = request.getfixturevalue(language)
    with (corpus.folder / "fitted" / "collocations" / "collocations.tsv").open(
        encoding="utf-8"
    ) as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    counts = phrase_counts(corpus)
    assert len(rows) == len(np.load(corpus.folder / "fitted" / "collocations" / "lexicon.npy")) > 0
    assert {row["phrase"]: int(row["count"]) for row in rows} == {
        row["phrase"]: counts[row["phrase"]] for row in rows
    }
    assert all(float(row["pmi"]) >= 4 and 2 <= int(row["words"]) <= LONGEST for row in rows)


@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("language", ["english", "chinese"])
def test_spans_are_listed_phrases_of_whole_words_inside_one_sentence(
    language: str, split: str, request: pytest.FixtureRequest
) -> None:
    corpus: Corpus = request.getfixturevalue(language)
    with (corpus.folder / "fitted" / "collocations" / "collocations.tsv").open(
        encoding="utf-8"
    ) as stream:
        listed = {
            row["phrase"] for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        }
    text = corpus.split(split)  # type: ignore[arg-type]
    found = 0
    for start, stop in pairwise(text.sentence_offsets.tolist()):
        passage = text.passage(start, stop, ("word_starts", "collocations"))
        layer, words = passage.layers["collocations"], passage.layers["word_starts"].copy()
        words[0] = 1
        assert layer[0] != 2, "a span goes on from another sentence"
        for first, last in zip(*span_places(layer), strict=True):
            assert words[first], "a span starts inside a word"
            assert last == len(words) or words[last], "a span ends inside a word"
            assert 2 <= words[first:last].sum() <= LONGEST
            assert corpus.tokenizer.decode(passage.token_ids[first:last]) in listed
            found += 1
    assert found > 0
