"""Whole units are masked, those of the layer that the option names."""

from collections.abc import Sequence

import numpy as np
import pytest

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.masking_units import knowledge_units
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import MASKED_TOKEN, AnnotatedText
from ernie_cmtl.run.instances import make_instance


def open_stream(corpus: Corpus, **options: object) -> SampleStream:
    instance = make_instance(
        "knowledge_masking", 0, TaskConfig.model_validate({"masking": options}), corpus
    )
    return SampleStream(instance, corpus.split("train"), maximum_length=128, seed=1)


def units_of(text: AnnotatedText, spans: Sequence[str]) -> list[tuple[int, set[int]]]:
    """Kind and positions of each unit of a passage; the first token begins one in any case."""
    units: list[tuple[int, set[int]]] = []
    for position, kind in enumerate(knowledge_units(text, spans).tolist()):
        if kind or not units:
            units.append((kind, set()))
        units[-1][1].add(position)
    return units


def masked_samples(stream: SampleStream, count: int = 100) -> list[tuple[AnnotatedText, set[int]]]:
    """Passages with their masked positions, counted without the special tokens."""
    samples = []
    for number in range(count):
        text = stream.corpus.passage(*stream.place(number), stream.instance.task.profile.layers)
        example = stream.example(number)
        assert example is not None
        targets = example.targets[MASKED_TOKEN]
        restored = example.token_ids.copy()
        restored[targets.positions] = targets.labels
        assert restored[1:-1].tolist() == text.token_ids.tolist()
        samples.append((text, set((targets.positions - 1).tolist())))
    return samples


def split_units(
    samples: list[tuple[AnnotatedText, set[int]]], spans: Sequence[str]
) -> tuple[int, int]:
    """How many units of several tokens are masked as a whole, and how many in part."""
    touched = [
        (unit, masked)
        for text, masked in samples
        for _, unit in units_of(text, spans)
        if len(unit) > 1 and unit & masked
    ]
    whole = sum(unit <= masked for unit, masked in touched)
    return whole, len(touched) - whole


@pytest.mark.parametrize("language", ["english", "chinese"])
@pytest.mark.parametrize("units", ["knowledge", "word"])
def test_units_are_masked_whole(units, language, request):
    corpus: Corpus = request.getfixturevalue(language)
    samples = masked_samples(open_stream(corpus, units=units))
    whole, in_part = split_units(samples, corpus.profile.spans if units == "knowledge" else ())
    assert whole > 50
    assert in_part == 0


def test_words_are_masked_apart_from_their_collocation(english):
    _, in_part = split_units(masked_samples(open_stream(english, units="word")), ["collocations"])
    assert in_part > 50


@pytest.mark.parametrize(
    "spans", [["collocations"], ["capitalized_names"], ["collocations", "capitalized_names"]]
)
def test_the_spans_that_are_chosen_are_the_units(english, spans):
    samples = masked_samples(open_stream(english, spans=spans))
    masked_spans = dict.fromkeys(range(2, 2 + len(spans)), 0)
    for text, masked in samples:
        for kind, unit in units_of(text, spans):
            if kind > 1 and unit & masked:
                assert unit <= masked
                masked_spans[kind] += 1
    assert min(masked_spans.values()) > 2
    assert split_units(samples, spans)[1] == 0


def test_all_span_layers_of_the_corpus_are_used_unless_some_are_chosen(english):
    assert open_stream(english).instance.layers == (
        "word_starts",
        "capitalized_names",
        "collocations",
    )
    assert open_stream(english, spans=["collocations"]).instance.layers == (
        "word_starts",
        "collocations",
    )
    assert open_stream(english, units="word").instance.layers == ("word_starts",)


def test_a_span_layer_that_the_corpus_lacks_is_refused_with_the_way_to_add_it(english):
    with pytest.raises(
        UserError,
        match=r"layer "
        r"'gazetteer', "
        r"which "
        r"the "
        r"corpus "
        r"lacks; "
        r".*--layers "
        r"gazetteer; "
        r"it "
        r"has "
        r"word_starts",
    ):
        open_stream(english, spans=["gazetteer"])


def test_tokens_are_masked_apart_from_their_word(english):
    samples = masked_samples(open_stream(english, units="token"))
    _, in_part = split_units(samples, ())
    assert in_part > 50
    # About 15 % of words of two pieces are hit twice, as chance has it, not always.
    pairs = [
        (unit, masked)
        for text, masked in samples
        for _, unit in units_of(text, ())
        if len(unit) == 2
    ]
    both = np.mean([unit <= masked for unit, masked in pairs])
    assert both < 0.05


def test_units_are_mixed_with_single_tokens_sample_by_sample(english):
    samples = masked_samples(open_stream(english, single_tokens=0.4), 600)
    found = [split_units([sample], english.profile.spans) for sample in samples]
    assert np.mean([in_part > 0 for _, in_part in found]) == pytest.approx(0.4, abs=0.07)
    # A sample is of one kind: where units are hit in part, hardly one is hit whole.
    whole, in_part = np.sum([row for row in found if row[1]], axis=0)
    assert whole < 0.1 * in_part


@pytest.mark.parametrize(("single_tokens", "parts"), [(0.0, False), (1.0, True)])
def test_all_samples_or_none_have_single_tokens(english, single_tokens, parts):
    _, in_part = split_units(
        masked_samples(open_stream(english, single_tokens=single_tokens)), english.profile.spans
    )
    assert (in_part > 100) if parts else (in_part == 0)


@pytest.mark.parametrize("rate", [0.1, 0.15, 0.3])
def test_rate_is_the_part_of_the_tokens_that_is_predicted(english, rate):
    samples = masked_samples(open_stream(english, rate=rate), count=300)
    tokens = sum(len(text.token_ids) for text, _ in samples)
    assert sum(len(masked) for _, masked in samples) / tokens == pytest.approx(rate, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"units": "phrase"},
            "tasks.knowledge_masking: masking.units: .*'knowledge', 'word' or 'token'.*'phrase'",
        ),
        ({"rate": 0}, "rate: .*greater than 0"),
        ({"rate": 1.0}, "rate: .*less than 1"),
        ({"single_tokens": 1.5}, "single_tokens: .*less than or equal to 1"),
        ({"unit": "word"}, "unknown key 'masking.unit'; did you mean 'units'"),
    ],
)
def test_options_that_are_not_accepted_are_named(english, options, message):
    with pytest.raises(UserError, match=message):
        open_stream(english, **options)
