"""What differs between two states of a corpus is said part by part."""

from copy import deepcopy
from typing import Any

import pytest

from ernie_cmtl.corpus.store.content import changed_content, content_of
from ernie_cmtl.corpus.store.corpus import Corpus


@pytest.fixture(scope="module")
def content(judged: Corpus) -> dict[str, Any]:
    layers = ["collocations", "word_starts"]
    return content_of(judged.manifest, layers, sorted(judged.manifest.labelled)[:1])


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("vocabulary", "other", "another vocabulary"),
        ("mixture", {"a": 1.0}, "another mixture (None, now {'a': 1.0})"),
        ("text", "other", "other text (1 shards, now 1)"),
        ("layers", {"word_starts": "other"}, "layer collocations is not read any more, "),
        ("layers", {"word_starts": "other"}, "layer word_starts has other values"),
        ("tables", {}, " is not read any more"),
        ("tables", {"new": "x"}, "table new was not read then"),
    ],
)
def test_the_part_that_differs_is_named(
    content: dict[str, Any], part: str, value: Any, said: str
) -> None:
    assert said in changed_content(content, content | {part: value})


def test_the_layers_of_another_text_are_not_listed(content: dict[str, Any]) -> None:
    other = deepcopy(content) | {"text": "x", "shards": 3}
    other["layers"] = dict.fromkeys(content["layers"], "x")
    assert changed_content(content, other) == "other text (1 shards, now 3)"


def test_the_same_content_differs_in_nothing(content: dict[str, Any]) -> None:
    assert changed_content(content, deepcopy(content)) == ""
