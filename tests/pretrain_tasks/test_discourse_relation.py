"""The marker at the head of a sentence becomes the label, and is gone from the input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.layers.discourse_markers import (
    DEFAULTS,
    DiscourseMarkers,
    DiscourseMarkersOptions,
)
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.tokens.tokenizer import raw_text_tokenizer
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.instances import make_instance
from tests.support.corpora import build_corpus, sample_texts

MARKERS = {
    "en": ["however", "therefore", "for example", "in other words", "meanwhile"],
    "zh": ["但是", "因此", "例如", "换句话说", "与此同时"],
}
WORDS = {
    "en": [
        "river",
        "stone",
        "garden",
        "letter",
        "window",
        "music",
        "winter",
        "bread",
        "paper",
        "light",
    ],
    "zh": ["河", "石", "花", "信", "窗", "乐", "冬", "饭", "纸", "光"],
}


def planted(language: str, documents: int = 40) -> tuple[list[str], dict[str, str]]:
    """Documents with markers at the head of sentences of distinct words; and pair -> marker."""
    rng = np.random.default_rng(5)
    texts, pairs = [], {}

    def sentence(number: int) -> str:
        words = [WORDS[language][digit] for digit in map(int, f"{number:05d}")]
        return " ".join([*words, "stays"]) if language == "en" else "".join([*words, "在那里"])

    for document in range(documents):
        parts, before = [], ""
        for place in range(8):
            plain = sentence(document * 8 + place)
            marker = str(rng.choice(MARKERS[language])) if rng.random() < 0.6 else ""
            end, comma = (".", ", ") if language == "en" else ("。", "，")
            text = f"{marker}{comma}{plain}{end}" if marker else f"{plain}{end}"
            parts.append(text[0].upper() + text[1:])
            if marker and before:
                pairs[plain] = marker
            before = plain
        texts.append((" " if language == "en" else "").join(parts))
    return texts, pairs


@pytest.fixture(scope="module", params=["en", "zh"])
def mined(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Corpus, dict[str, str]]:
    texts, pairs = planted(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    build_corpus(folder, texts, request.param, layers={"discourse_markers": {}})
    return Corpus(folder / "corpus"), pairs


def open_stream(corpus: Corpus, split: Any = "train", **options: Any) -> SampleStream:
    instance = make_instance("discourse_relation", 0, TaskConfig.model_validate(options), corpus)
    text = corpus.text(split, options.get("table"))
    return SampleStream(instance, text, 128, 1)


def squeezed(text: str) -> str:
    return text.replace(" ", "").strip(".。").lower()


def test_every_planted_pair_comes_out_with_its_marker_and_without_it(
    mined: tuple[Corpus, dict[str, str]],
) -> None:
    corpus, pairs = mined
    expected = {squeezed(plain): marker for plain, marker in pairs.items()}
    found: dict[str, str] = {}
    for split in ("train", "heldout"):
        stream = open_stream(corpus, split, most_of_median=1000)
        for number in range(len(stream)):
            example = stream.example(number)
            assert example is not None
            second = corpus.tokenizer.decode(example.token_ids[example.token_type_ids == 1][:-1])
            found[squeezed(second)] = stream.instance.task.markers[
                int(example.targets["marker"].labels[0])
            ]
    assert found == expected


def test_frequent_markers_are_thinned_out_evenly_and_rare_ones_stay(tmp_path: Path) -> None:
    def document(number: int) -> str:
        marker = "However" if number % 10 else "Therefore"
        return (
            f"Here is the sentence of number {number}. {marker}, it goes on after that for a while."
        )

    build_corpus(
        tmp_path, [document(number) for number in range(400)], layers={"discourse_markers": {}}
    )
    corpus = Corpus(tmp_path / "corpus")

    def counts(most: float) -> dict[str, int]:
        stream = open_stream(corpus, most_of_median=most)
        labels = [
            int(example.targets["marker"].labels[0])
            for n in range(len(stream))
            if (example := stream.example(n))
        ]
        names = [stream.instance.task.markers[label] for label in labels]
        return {name: names.count(name) for name in set(names)}

    every = counts(1000)
    assert every["however"] > 8 * every["therefore"]
    # The median of two markers lies between them.
    thinned = counts(1)
    assert thinned["therefore"] == every["therefore"]
    assert thinned["however"] == (every["however"] + every["therefore"]) // 2
    text = corpus.split("train")
    starts = sorted(
        int(open_stream(corpus, most_of_median=1).index.starts[n])
        for n in range(thinned["however"])
    )
    assert starts[-1] > 0.8 * text.tokens
    assert starts[0] < 0.2 * text.tokens


def test_the_lists_of_both_languages_are_distinct_and_fit_a_byte() -> None:
    for language in ("en", "zh"):
        layer = DiscourseMarkers(DiscourseMarkersOptions(), language)
        assert (
            len(layer.options.markers)
            == len(set(layer.options.markers))
            == len(DEFAULTS[language].split())
        )
        assert 50 < len(layer.options.markers) <= 254
        for kind, marker in enumerate(layer.options.markers, start=1):
            text = (
                f"One thing. {marker.capitalize()}, another."
                if language == "en"
                else f"一件事。{marker}，另一件。"
            )
            assert kind in {found for _, _, found in layer.marks(text)}


def test_a_marker_needs_its_comma_in_english_unless_told_otherwise() -> None:
    text = "It rained. However hard it rained, we went. However, we came back."
    strict, loose = (
        DiscourseMarkers(DiscourseMarkersOptions(comma=comma), "en") for comma in (None, False)
    )
    assert [text[a:b] for a, b, _ in strict.marks(text)] == ["However,"]
    assert [text[a:b] for a, b, _ in loose.marks(text)] == ["However", "However,"]


def test_a_marker_is_looked_for_where_a_sentence_may_begin() -> None:
    layer = DiscourseMarkers(DiscourseMarkersOptions(markers=("a", "but", "also", "so what")), "en")
    text = (
        "But, yes. Butter, no. but, no. xBut, no. BUT, no. (But , yes) A, yes. Also, yes. Alsoé, "
        "no. So what, yes. So, no."
    )
    assert [text[a:b] for a, b, _ in layer.marks(text)] == [
        "But,",
        "But ,",
        "A,",
        "Also,",
        "So what,",
    ]
    chinese = DiscourseMarkers(DiscourseMarkersOptions(markers=("但是", "ok")), "zh")
    text = "但是，好。我但是，不。OK，好。不ok，不。(但是好)"
    assert [text[a:b] for a, b, _ in chinese.marks(text)] == ["但是，", "OK，", "但是"]


def test_markers_of_a_file_take_the_place_of_the_own_ones(tmp_path: Path) -> None:
    (tmp_path / "markers.txt").write_text("by and large\nwell\n")
    options = DiscourseMarkersOptions(files=(str(tmp_path / "markers.txt"),))
    layer = DiscourseMarkers(options, "en")
    assert layer.options.markers == ("by and large", "well")
    assert [
        kind for _, _, kind in layer.marks("Well, yes. By and large, no. However, perhaps.")
    ] == [2, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"markers": ("well", "so", "well")}, "markers stand in the list twice: well"),
        ({"markers": ("well", "Well ")}, "markers stand in the lists twice: well"),
        ({"files": ("absent.txt",)}, "no file absent.txt"),
        ({"markers": tuple(f"marker{n}" for n in range(255))}, "255 markers; at most 254"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_before_the_build(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build_corpus(tmp_path, sample_texts("en", 8), layers={"discourse_markers": options})
    assert not (tmp_path / "corpus").exists()


def test_labelled_pairs_are_another_source_of_the_task(tmp_path: Path) -> None:
    letters = "abcdefgh"
    rows = [
        {
            "sentence1": f"The road {a} {b} is long.",
            "sentence2": f"We walk {b} {a}.",
            "label": ["so", "but"][(x + y) % 2],
        }
        for x, a in enumerate(letters)
        for y, b in enumerate(letters)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"sentence1": "text", "sentence2": "text", "label": "class"}
    labelled = {"pairs": {"file": str(tmp_path / "pairs.jsonl"), "columns": columns}}
    build_corpus(tmp_path, sample_texts("en", 8), labelled=labelled)
    corpus = Corpus(tmp_path / "corpus")
    stream = open_stream(corpus, table="pairs")
    assert stream.instance.task.markers == ("but", "so")
    tokenizer = raw_text_tokenizer(corpus.folder / "tokenizer")

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    expected = {(ids(row["sentence1"]), ids(row["sentence2"])): row["label"] for row in rows}
    assert len(expected) == 64
    for number in range(len(stream)):
        example = stream.example(number)
        assert example is not None
        first, second = (
            tuple(example.token_ids[example.token_type_ids == n].tolist()) for n in (0, 1)
        )
        assert (
            expected[first[1:-1], second[:-1]]
            == stream.instance.task.markers[int(example.targets["marker"].labels[0])]
        )
