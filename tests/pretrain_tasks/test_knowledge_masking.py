"""Whole units are masked, those of the layer that the option names."""

import numpy as np
import pytest

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import MASKED_TOKEN, AnnotatedText
from ernie_cmtl.run.assemble import make_instance

LAYERS = {"knowledge": "unit_starts", "word": "word_starts"}


def open_stream(corpus: Corpus, **options: object) -> SampleStream:
    instance = make_instance("knowledge_masking", 0, TaskConfig.model_validate(options), corpus)
    return SampleStream(instance, corpus.split("train"), row_length=128, seed=1)


def units_of(text: AnnotatedText, layer: str) -> list[set[int]]:
    """Positions of each unit of a layer; the first token of a passage begins one in any case."""
    units: list[set[int]] = []
    for position, start in enumerate(text.layers[layer].tolist()):
        if start or not units:
            units.append(set())
        units[-1].add(position)
    return units


def masked_samples(stream: SampleStream, count: int = 100) -> list[tuple[AnnotatedText, set[int]]]:
    """Passages with their masked positions, counted without the special tokens."""
    samples = []
    for number in range(count):
        text = stream.corpus.passage(*stream.source(number), ("word_starts", "unit_starts"))
        example = stream.example(number)
        assert example is not None
        targets = example.targets[MASKED_TOKEN]
        restored = example.token_ids.copy()
        restored[targets.positions] = targets.labels
        assert restored[1:-1].tolist() == text.token_ids.tolist()
        samples.append((text, set((targets.positions - 1).tolist())))
    return samples


def split_units(samples: list[tuple[AnnotatedText, set[int]]], layer: str) -> tuple[int, int]:
    """How many units of several tokens are masked as a whole, and how many in part."""
    touched = [(unit, masked) for text, masked in samples for unit in units_of(text, layer) if len(unit) > 1 and unit & masked]
    whole = sum(unit <= masked for unit, masked in touched)
    return whole, len(touched) - whole


@pytest.mark.parametrize("language", ["english", "chinese"])
@pytest.mark.parametrize("units", ["knowledge", "word"])
def test_units_of_the_layer_are_masked_whole(units, language, request):
    samples = masked_samples(open_stream(request.getfixturevalue(language), units=units))
    whole, in_part = split_units(samples, LAYERS[units])
    assert whole > 50
    assert in_part == 0


def test_words_are_masked_apart_from_their_collocation(english):
    samples = masked_samples(open_stream(english, units="word"))
    _, in_part = split_units(samples, "unit_starts")
    assert in_part > 50


def test_collocations_are_units_of_knowledge(english):
    samples = masked_samples(open_stream(english))
    collocations = 0
    for text, masked in samples:
        starts = text.layers["unit_starts"]
        words = text.layers["word_starts"]
        for unit in units_of(text, "unit_starts"):
            if starts[min(unit)] == 2 and words[sorted(unit)].sum() > 1 and unit & masked:
                assert unit <= masked
                collocations += 1
    assert collocations > 50


def test_tokens_are_masked_apart_from_their_word(english):
    samples = masked_samples(open_stream(english, units="token"))
    _, in_part = split_units(samples, "word_starts")
    assert in_part > 50
    # About 15 % of words of two pieces are hit twice, as chance has it, not always.
    pairs = [(unit, masked) for text, masked in samples for unit in units_of(text, "word_starts") if len(unit) == 2]
    both = np.mean([unit <= masked for unit, masked in pairs])
    assert both < 0.05


@pytest.mark.parametrize("rate", [0.1, 0.15, 0.3])
def test_rate_is_the_part_of_the_tokens_that_is_predicted(english, rate):
    samples = masked_samples(open_stream(english, rate=rate), count=300)
    tokens = sum(len(text.token_ids) for text, _ in samples)
    assert sum(len(masked) for _, masked in samples) / tokens == pytest.approx(rate, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": "phrase"}, "tasks.knowledge_masking: units: .*'knowledge', 'word' or 'token'.*'phrase'"),
        ({"rate": 0}, "rate: .*greater than 0"),
        ({"rate": 1.0}, "rate: .*less than 1"),
        ({"unit": "word"}, "unknown key 'unit'; did you mean 'units'"),
    ],
)
def test_options_that_are_not_accepted_are_named(english, options, message):
    with pytest.raises(UserError, match=message):
        open_stream(english, **options)
