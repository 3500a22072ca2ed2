"""A slot is what its example fills: the rest of it would be padding in every row."""

import pytest

from tests.support.places import numbered_examples, open_stream


@pytest.mark.parametrize(
    ("task", "least"),
    [("discourse_relation", 1.0), ("ir_relevance", 1.0), ("sentence_distance", 0.96)],
)
@pytest.mark.parametrize("language", ["english", "chinese"])
def test_examples_fill_their_slots(task, least, language, request):
    stream = open_stream(task, request.getfixturevalue(language), 128)
    made = numbered_examples(stream, 300)
    assert len(made) > 100
    slots = [stream.slot(number) for number, _ in made]
    lengths = [len(example.token_ids) for _, example in made]
    assert all(length <= slot for length, slot in zip(lengths, slots, strict=True))
    assert sum(lengths) / sum(slots) >= least
