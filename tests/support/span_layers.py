"""What the tests of span providers share."""

from typing import Any

from ernie_cmtl.corpus.layers import find_layer
from ernie_cmtl.records import Language


def found(provider: str, language: Language, text: str, **options: Any) -> list[str]:
    """Return the stretches that a provider finds in a text, after a look at their order."""
    kind = find_layer(provider)
    spans = kind(kind.Options.model_validate(options), language).spans(text)
    places = [place for span in spans for place in span]
    assert places == sorted(places)
    assert all(0 <= start < stop <= len(text) for start, stop in spans)
    return [text[start:stop] for start, stop in spans]
