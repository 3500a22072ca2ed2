"""What every task keeps, in every language that it supports."""

from typing import Any

import numpy as np
import pytest

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.records import MASKED_TOKEN, Example
from ernie_cmtl.run.instances import make_instance
from ernie_cmtl.task import HeadSpec
from ernie_cmtl.task_registry import find_task, task_names
from tests.support.labelled_rows import SUPERVISED

SAMPLES = 100
CORPORA = {"en": "english", "zh": "chinese"}
MINED = [
    (name, language)
    for name in task_names()
    if name not in SUPERVISED
    for language in find_task(name).languages
]
TOKEN_LEVEL = ("vocabulary", "token_class", "token_regression")


@pytest.fixture(params=MINED, ids="-".join)
def stream(request: pytest.FixtureRequest) -> SampleStream:
    name, language = request.param
    corpus: Corpus = request.getfixturevalue(CORPORA[language])
    return SampleStream(
        make_instance(name, 0, TaskConfig(), corpus),
        corpus.split("train"),
        maximum_length=128,
        seed=1,
    )


def examples_of(stream: SampleStream) -> list[tuple[int, Example]]:
    """(sample number, example) of the first samples that hold something to predict."""
    made = [(number, stream.example(number)) for number in range(SAMPLES)]
    found = [(number, example) for number, example in made if example is not None]
    assert len(found) > 0.9 * SAMPLES
    return found


def original_tokens(example: Example) -> np.ndarray:
    """The tokens as they were before masking."""
    tokens = example.token_ids.copy()
    if masked := example.targets.get(MASKED_TOKEN):
        tokens[masked.positions] = masked.labels
    return tokens


def check_labels(spec: HeadSpec, labels: np.ndarray, vocabulary_size: int) -> None:
    if spec.kind.endswith("regression"):
        assert labels.dtype == np.float32
        assert np.isfinite(labels).all()
    else:
        assert labels.dtype == np.int64
        assert labels.min() >= 0
        assert labels.max() < (vocabulary_size if spec.kind == "vocabulary" else spec.classes)


def test_targets_are_in_range_and_never_at_a_special_token(stream):
    vocabulary = stream.instance.task.vocabulary
    specs = {spec.name: spec for spec in stream.instance.specs}
    for _, example in examples_of(stream):
        tokens = original_tokens(example)
        assert not (example.token_ids == vocabulary.pad_id).any()
        assert sum(len(targets.labels) for targets in example.targets.values()) > 0
        for name, targets in example.targets.items():
            assert len(targets.positions) == len(targets.labels)
            assert targets.positions.min() >= 0
            assert targets.positions.max() < len(tokens)
            check_labels(specs[name], targets.labels, vocabulary.size)
            at = tokens[targets.positions]
            if specs[name].kind in TOKEN_LEVEL:
                assert not vocabulary.special[at].any()
                assert len(set(targets.positions.tolist())) == len(targets.positions)
            else:
                assert (at == vocabulary.cls_id).all()
            if specs[name].kind == "choice":
                assert targets.positions.shape == (len(targets.labels), specs[name].classes)


def test_sequences_begin_with_cls_end_with_sep_and_number_their_segments(stream):
    vocabulary = stream.instance.task.vocabulary
    for _, example in examples_of(stream):
        assert len(example.token_type_ids) == len(example.token_ids)
        lengths = example.sequence_lengths or (len(example.token_ids),)
        assert sum(lengths) == len(example.token_ids)
        ends = np.cumsum(lengths)
        for start, end in zip(ends - lengths, ends, strict=True):
            tokens = example.token_ids[start:end]
            assert tokens[0] == vocabulary.cls_id
            assert tokens[-1] == vocabulary.sep_id
            assert (tokens == vocabulary.cls_id).sum() == 1
            # Each [SEP] is the last token of its segment.
            before = np.cumsum(tokens == vocabulary.sep_id) - (tokens == vocabulary.sep_id)
            np.testing.assert_array_equal(example.token_type_ids[start:end], before)


def test_heads_that_come_out_are_those_declared(stream):
    found = {name for _, example in examples_of(stream) for name in example.targets}
    assert found == {spec.name for spec in stream.instance.specs}
    for spec in stream.instance.specs:
        assert (spec.name == MASKED_TOKEN) == (spec.kind == "vocabulary")
        assert not spec.class_names or len(set(spec.class_names)) == spec.classes


def as_lists(example: Example) -> tuple[Any, ...]:
    targets = {
        name: (t.positions.tolist(), t.labels.tolist()) for name, t in example.targets.items()
    }
    return (
        example.token_ids.tolist(),
        example.token_type_ids.tolist(),
        targets,
        example.sequence_lengths,
    )


def test_all_chance_comes_from_the_generator(stream):
    task, corpus = stream.instance.task, stream.corpus
    for number, _ in examples_of(stream)[:30]:
        made = []
        for noise in (1, 2):
            np.random.seed(noise)  # noqa: NPY002
            text = corpus.passage(*stream.place(number), stream.instance.layers)
            kept = text.token_ids.copy()
            example = task.example(text, np.random.default_rng(number), corpus)
            assert example is not None
            np.testing.assert_array_equal(text.token_ids, kept)
            made.append(as_lists(example))
        assert made[0] == made[1]


def test_examples_fit_their_slots(stream):
    for number, example in examples_of(stream):
        assert len(example.token_ids) <= stream.slot(number) <= 128


@pytest.mark.parametrize("units", ["knowledge", "word", "token"])
def test_any_task_masks_its_input_when_it_is_asked_to(stream, units, request):
    """The same example with units masked: where nothing is masked it stays as it is, its own labels
    too.
    """
    corpus = stream.corpus
    name, row_length = stream.instance.name, 128
    options = {"masked_tokens": True, "masking": {"units": units}}
    opened: Corpus = request.getfixturevalue(CORPORA[stream.instance.task.profile.language])
    instance = make_instance(name, 0, TaskConfig.model_validate(options), opened)
    masked_stream = SampleStream(instance, corpus, row_length, seed=1)
    targets = tokens = 0
    for number, example in examples_of(masked_stream)[:50]:
        plain = stream.example(number)
        assert plain is not None
        restored = original_tokens(example)
        assert restored.tolist() == original_tokens(plain).tolist()
        own = {spec.name for spec in stream.instance.task.heads}
        for head in own:
            assert example.targets[head].labels.tolist() == plain.targets[head].labels.tolist()
        masked = example.targets[MASKED_TOKEN]
        assert not stream.instance.task.vocabulary.special[masked.labels].any()
        targets, tokens = targets + len(masked.labels), tokens + len(restored)
    assert 0.1 < targets / tokens < 0.2


def test_the_rate_moves_over_the_first_samples(english):
    options = {"masking": {"rate": 0.3, "final_rate": 0.1, "samples": 400, "units": "token"}}
    instance = make_instance("knowledge_masking", 0, TaskConfig.model_validate(options), english)
    stream = SampleStream(instance, english.split("train"), 128, 1)

    def rate(first: int) -> float:
        examples = [
            example for number in range(first, first + 40) if (example := stream.example(number))
        ]
        return sum(len(e.targets[MASKED_TOKEN].labels) for e in examples) / sum(
            len(e.token_ids) - 2 for e in examples
        )

    assert [rate(first) for first in (0, 180, 400, 5000)] == pytest.approx(
        [0.29, 0.2, 0.1, 0.1], abs=0.01
    )
