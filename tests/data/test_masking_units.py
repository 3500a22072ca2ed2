"""Units of a text from its words and spans, against a slow reading of the rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.data.masking_units import knowledge_units, span_places
from ernie_cmtl.records import AnnotatedText


def make_text(
    words: list[int], layers: dict[str, list[int]], sentences: list[int] | None = None
) -> AnnotatedText:
    arrays = {
        name: np.array(values, dtype=np.uint8)
        for name, values in ({"word_starts": words} | layers).items()
    }
    offsets = np.array([0, *(sentences or []), len(words)])
    return AnnotatedText(np.arange(len(words)), offsets, arrays)


def slow_places(layer: list[int]) -> list[tuple[int, int]]:
    places: list[list[int]] = []
    for position, value in enumerate(layer):
        if value == 1 or (value == 2 and position == 0):
            places.append([position, position + 1])
        elif value == 2:
            places[-1][1] = position + 1
    return [(start, stop) for start, stop in places]


def slow_units(words: list[int], spans: list[list[int]]) -> list[int]:
    owner: list[tuple[int, int]] = [(0, 0)] * len(words)
    for kind, layer in enumerate(spans, start=2):
        for start, stop in slow_places(layer):
            if all(o == (0, 0) for o in owner[start:stop]):
                owner[start:stop] = [(kind, start)] * (stop - start)
    units = []
    for position, (kind, start) in enumerate(owner):
        if kind:
            units.append(kind if position == start else 0)
        else:
            begins = words[position] or position == 0 or owner[position - 1] != (0, 0)
            units.append(1 if begins else 0)
    return units


@st.composite
def span_layers(draw: st.DrawFn, size: int) -> list[int]:
    """A layer of spans that do not overlap; a span may begin before the text."""
    layer = [0] * size
    place = 0
    while place < size:
        place += draw(st.integers(0, 3))
        length = draw(st.integers(1, 4))
        for at in range(place, min(size, place + length)):
            layer[at] = 2 if at > place or (at == 0 and draw(st.booleans())) else 1
        place += length
    return layer


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_units_equal_the_reference(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 20))
    words = data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    spans = data.draw(st.lists(span_layers(size), max_size=3))
    layers = {f"layer{number}": layer for number, layer in enumerate(spans)}
    text = make_text(words, layers)
    assert knowledge_units(text, list(layers)).tolist() == slow_units(words, spans)
    for name, layer in layers.items():
        assert list(zip(*span_places(text.layers[name]), strict=True)) == slow_places(layer)


def test_the_first_layer_named_wins_and_the_other_span_falls_to_words() -> None:
    text = make_text([1, 1, 1, 1, 1], {"a": [0, 1, 2, 0, 0], "b": [0, 0, 1, 2, 1]})
    assert knowledge_units(text, ["a", "b"]).tolist() == [1, 2, 0, 1, 3]
    assert knowledge_units(text, ["b", "a"]).tolist() == [1, 1, 2, 0, 2]


def test_a_sentence_starts_a_unit_wherever_its_first_token_stands_in_a_word() -> None:
    assert knowledge_units(make_text([1, 0, 0, 0], {}, sentences=[2]), []).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("layer", [[], [0, 0]])
def test_no_span_is_no_span(layer: list[int]) -> None:
    assert [len(places) for places in span_places(np.array(layer, dtype=np.uint8))] == [0, 0]
