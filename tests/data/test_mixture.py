"""Samples drawn from several sources by their weights: the shares of the tokens, exactly
repeatable.
"""

import logging
from pathlib import Path

import numpy as np
import pytest

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.streams import MixturePart, SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.instances import make_instance
from tests.support.corpora import make_corpus, sample_texts, write_jsonl

CHUNK = 1024


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Three sources: long documents, very short ones, and a few of one sentence."""
    folder = tmp_path_factory.mktemp("mixed")
    texts = sample_texts("en", 40)
    write_jsonl(folder / "long.jsonl", texts[:20])
    short = [
        sentence.strip() + "."
        for text in texts[20:]
        for sentence in text.split(". ")
        if 30 < len(sentence) < 200
    ]
    write_jsonl(folder / "short.jsonl", short)
    write_jsonl(
        folder / "single.jsonl", [f"Here is the single sentence number {n}" for n in range(30)]
    )
    words = [f"{name}={folder / name}.jsonl" for name in ("long", "short", "single")]
    make_corpus(words, folder / "corpus")
    return Corpus(folder / "corpus")


def open_stream(
    corpus: Corpus, mixture: list[MixturePart], task: str = "knowledge_masking", seed: int = 1
) -> SampleStream:
    instance = make_instance(task, 0, TaskConfig(), corpus)
    return SampleStream(instance, corpus.split("train"), 64, seed, mixture)


def tokens_by_source(
    corpus: Corpus, stream: SampleStream, first: int, last: int
) -> dict[str, float]:
    split = corpus.split("train")
    found = dict.fromkeys(corpus.manifest.sources, 0)
    for number in range(first, last):
        found[str(split.sources(np.array([stream.place(number)[0]]))[0])] += stream.slot(number)
    total = sum(found.values())
    return {name: count / total for name, count in found.items()}


@pytest.mark.parametrize(
    "weights",
    [
        {"long": 0.5, "short": 0.3, "single": 0.2},
        {"long": 0.1, "short": 0.9, "single": 0},
        {"long": 0, "short": 0, "single": 1},
    ],
)
def test_each_source_gives_its_part_of_the_tokens(mixed: Corpus, weights: dict[str, float]) -> None:
    stream = open_stream(mixed, [([name], weight) for name, weight in weights.items()])
    for chunk in (0, 7):
        found = tokens_by_source(mixed, stream, chunk * CHUNK, (chunk + 1) * CHUNK)
        assert found == pytest.approx(weights, abs=0.02)


def test_a_source_is_shown_whole_before_any_of_its_samples_comes_again(mixed: Corpus) -> None:
    stream = open_stream(mixed, [(["long"], 0.5), (["single"], 0.5)])
    split = mixed.split("train")
    places = [stream.place(number) for number in range(4 * CHUNK)]
    names = split.sources(np.array([start for start, _ in places]))
    for name in ("long", "single"):
        own = [place for place, source in zip(places, names, strict=True) if source == name]
        size = len(set(own))
        epochs = [own[first : first + size] for first in range(0, len(own) - size, size)]
        assert len(epochs) > 1
        assert all(len(set(epoch)) == size for epoch in epochs)


def test_samples_are_mixed_through_each_other_within_a_chunk(mixed: Corpus) -> None:
    stream = open_stream(mixed, [(["long"], 0.5), (["short"], 0.5)])
    split = mixed.split("train")
    names = split.sources(np.array([stream.place(number)[0] for number in range(CHUNK)]))
    changes = int((names[1:] != names[:-1]).sum())
    assert changes > CHUNK / 5


def test_any_number_is_found_at_once_and_seeds_differ(mixed: Corpus) -> None:
    parts: list[MixturePart] = [(["long"], 0.6), (["short", "single"], 0.4)]
    stream = open_stream(mixed, parts)
    numbers = [0, 5000, 12, 999_999, 5000]
    expected = [stream.place(number) for number in sorted(set(numbers))]
    fresh = open_stream(mixed, parts)
    assert [fresh.place(number) for number in sorted(set(numbers), reverse=True)] == expected[::-1]
    assert [
        open_stream(mixed, parts, seed=2).place(number) for number in sorted(set(numbers))
    ] != expected


def test_without_a_mixture_the_order_is_that_of_all_text_as_one(mixed: Corpus) -> None:
    one = open_stream(mixed, [(["long", "short", "single"], 1.0)])
    assert len(one) == len(open_stream(mixed, []))
    first = [one.place(number) for number in range(len(one))]
    assert len(set(first)) == len(first)


def test_a_source_without_a_sample_leaves_its_part_to_the_others(
    mixed: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        stream = open_stream(
            mixed, [(["long"], 0.5), (["single"], 0.5)], task="sentence_reordering"
        )
    assert "sentence_reordering finds no sample in single" in caplog.text
    assert tokens_by_source(mixed, stream, 0, CHUNK)["long"] == 1
    with pytest.raises(UserError, match="'sentence_reordering' finds no sample"):
        open_stream(mixed, [(["single"], 1.0)], task="sentence_reordering")


def test_a_weight_of_nothing_leaves_a_source_out_without_a_word(
    mixed: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        stream = open_stream(mixed, [(["long"], 1.0), (["single"], 0.0)])
    assert not caplog.text
    assert len(stream) == len(open_stream(mixed, [(["long"], 1.0)]))


def test_a_corpus_path_is_no_part_of_the_order(mixed: Corpus, tmp_path: Path) -> None:
    other = Corpus(mixed.folder)
    parts: list[MixturePart] = [(["long"], 0.3), (["short"], 0.7)]
    assert [open_stream(other, parts).place(n) for n in range(50)] == [
        open_stream(mixed, parts).place(n) for n in range(50)
    ]
