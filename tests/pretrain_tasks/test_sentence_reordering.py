"""Labels of sentence order, derived again from the text."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Example
from ernie_cmtl.run.instances import make_instance
from tests.support.corpora import build_corpus

CASES = [("english", 3), ("english", 4), ("english", 2), ("chinese", 3)]


def open_stream(corpus: Corpus, segments: int = 3, row_length: int = 128) -> SampleStream:
    instance = make_instance(
        "sentence_reordering", 0, TaskConfig.model_validate({"segments": segments}), corpus
    )
    return SampleStream(instance, corpus.split("train"), row_length, seed=1)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def stream(request: pytest.FixtureRequest) -> SampleStream:
    corpus, segments = request.param
    return open_stream(request.getfixturevalue(corpus), segments)


def segments_of(example: Example, sep_id: int) -> list[list[int]]:
    """What stands before each [SEP], in the order of the input."""
    tokens = example.token_ids[1:].tolist()
    ends = [place for place, token in enumerate(tokens) if token == sep_id]
    assert ends[-1] == len(tokens) - 1
    return [
        tokens[start:end]
        for start, end in zip([0, *(end + 1 for end in ends[:-1])], ends, strict=True)
    ]


def test_label_is_rederived_from_the_text(stream):
    names = stream.instance.task.heads[0].class_names
    sep_id = stream.instance.task.vocabulary.sep_id
    seen: Counter[str] = Counter()
    ambiguous = 0
    for number in range(300):
        example = stream.example(number)
        assert example is not None
        text = stream.corpus.passage(*stream.place(number), ())
        segments = segments_of(example, sep_id)
        # Order of the text: which segment of the input comes first, second, ... so that they join
        # to the passage.
        joins = [
            order
            for order in permutations(range(len(segments)))
            if [token for place in order for token in segments[place]] == text.token_ids.tolist()
        ]
        # A class names, for each segment of the input, its number in the text.
        possible = {
            "-".join(str(order.index(place) + 1) for place in range(len(segments)))
            for order in joins
        }
        targets = example.targets["order"]
        assert targets.positions.tolist() == [0]
        assert names[int(targets.labels[0])] in possible
        ambiguous += len(possible) > 1
        seen[names[int(targets.labels[0])]] += 1
        cuts = np.cumsum([len(segments[place]) for place in joins[0]])
        assert set(cuts.tolist()) <= set(text.sentence_offsets.tolist())
    assert ambiguous < 15
    assert len(seen) > 0.8 * len(names)


@pytest.mark.parametrize(("segments", "classes"), [(2, 3), (3, 9), (4, 33)])
def test_classes_are_all_orders_of_up_to_so_many_segments(english, segments, classes):
    head = open_stream(english, segments).instance.heads["sentence_reordering/order"]
    assert head.classes == classes
    expected = {
        "-".join(map(str, order))
        for n in range(1, segments + 1)
        for order in permutations(range(1, n + 1))
    }
    assert set(head.class_names) == expected
    assert len(head.class_names) == classes


def chi_square(counts: list[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


def test_number_of_segments_and_order_are_uniform(stream):
    names = stream.instance.task.heads[0].class_names
    most = stream.instance.task.minimum_sentences
    drawn: Counter[str] = Counter()
    for number in range(1500):
        example = stream.example(number)
        assert example is not None
        drawn[names[int(example.targets["order"].labels[0])]] += 1
    # A bound that chance passes once in many thousand tries: mean and five standard deviations of
    # chi-square.
    by_count = [
        [drawn[name] for name in names if name.count("-") == count] for count in range(most)
    ]
    for counts in [[sum(counts) for counts in by_count], *by_count[1:]]:
        freedom = len(counts) - 1
        assert chi_square(counts) < freedom + 5 * (2 * freedom) ** 0.5


def test_all_borders_of_sentences_are_cut(english):
    stream = open_stream(english, segments=2)
    sep_id = stream.instance.task.vocabulary.sep_id
    cut: Counter[float] = Counter()
    for number in range(2000):
        text = stream.corpus.passage(*stream.place(number), ())
        if text.sentences != 4:
            continue
        example = stream.example(number)
        assert example is not None
        segments = segments_of(example, sep_id)
        if len(segments) == 2:
            second_first = int(example.targets["order"].labels[0]) == 2
            border = len(segments[1] if second_first else segments[0])
            cut[text.sentence_offsets.tolist().index(border)] += 1
    assert set(cut) == {1, 2, 3}
    assert chi_square(list(cut.values())) < 2 + 5 * 2


def test_samples_have_a_sentence_for_each_segment(stream):
    needed = stream.instance.task.minimum_sentences
    for number in range(len(stream)):
        assert stream.corpus.passage(*stream.place(number), ()).sentences >= needed


def test_documents_of_one_sentence_give_no_sample(tmp_path):
    texts = [f"The number {number} stands in a document of one sentence." for number in range(12)]
    build_corpus(tmp_path / "single", texts)
    with pytest.raises(
        UserError, match=r"'sentence_reordering' finds no sample: no document has 3 sentence\(s\)"
    ):
        open_stream(Corpus(tmp_path / "single" / "corpus"))
    build_corpus(
        tmp_path / "one_longer",
        [*texts, "It rains. Nobody minds. We stay."],
        heldout_fraction=0,
        heldout_minimum=1,
    )
    assert len(open_stream(Corpus(tmp_path / "one_longer" / "corpus"))) <= 1


@pytest.mark.parametrize("segments", [1, 5])
def test_number_of_segments_out_of_range_is_refused(english, segments):
    with pytest.raises(UserError, match=rf"tasks.sentence_reordering: segments: .*got {segments}"):
        open_stream(english, segments)
