"""Entities of a spaCy pipeline."""

import sys
from pathlib import Path

import pytest

from ernie_cmtl.corpus.layers import find_layer
from ernie_cmtl.errors import UserError
from tests.support.span_layers import found

PATTERNS = [
    {"label": "GPE", "pattern": "New York"},
    {"label": "ORG", "pattern": "Acme"},
    {"label": "GPE", "pattern": "北京"},
]


def saved(folder: Path, language: str = "en", *components: str) -> str:
    """Save a pipeline whose entities come from a few patterns and return its folder."""
    import spacy

    pipeline = spacy.blank(language)
    for component in components:
        pipeline.add_pipe(component)
    if "entity_ruler" in components:
        pipeline.get_pipe("entity_ruler").add_patterns(PATTERNS)
    folder.mkdir(exist_ok=True)
    pipeline.to_disk(folder / "model")
    return str(folder / "model")


def test_entities_are_found_in_english_and_chinese(tmp_path):
    english = saved(tmp_path / "en", "en", "entity_ruler")
    text = "Acme moved to New York 😀, not far from Acme."
    assert found("spacy_entities", "en", text, model=english) == ["Acme", "New York", "Acme"]
    assert found("spacy_entities", "en", text, model=english, labels=["GPE"]) == ["New York"]
    assert found("spacy_entities", "en", "", model=english) == []
    assert found(
        "spacy_entities", "zh", "我在北京。", model=saved(tmp_path / "zh", "zh", "entity_ruler")
    ) == ["北京"]
    assert found(
        "spacy_entities", "en", text, model=saved(tmp_path / "xx", "xx", "entity_ruler")
    ) == ["Acme", "New York", "Acme"]


def test_a_long_text_goes_through_in_pieces(tmp_path):
    kind = find_layer("spacy_entities")
    provider = kind(kind.Options(model=saved(tmp_path, "en", "entity_ruler")), "en")
    text = "They met at Acme in New York.\n" * 20
    whole = provider.spans(text)
    provider._pipeline.max_length = 100
    assert len(whole) == 40
    assert provider.spans(text) == whole
    assert provider.spans("x" * 450) == []


def test_a_learned_recogniser_runs_without_the_parts_it_does_not_read(tmp_path):
    import spacy

    pipeline = spacy.blank("en")
    pipeline.add_pipe("sentencizer", name="sentences")
    pipeline.add_pipe("ner").add_label("ORG")
    pipeline.initialize()
    pipeline.to_disk(tmp_path / "model")
    kind = find_layer("spacy_entities")
    assert kind(kind.Options(model=str(tmp_path / "model")), "en")._pipeline.pipe_names == ["ner"]
    ruled = kind(
        kind.Options(model=saved(tmp_path / "ruled", "en", "sentencizer", "entity_ruler")), "en"
    )
    assert ruled._pipeline.pipe_names == ["sentencizer", "entity_ruler"]


def test_what_is_no_model_is_refused(tmp_path):
    for model in (None, "json", "no_such_model", str(tmp_path / "none")):
        with pytest.raises(
            UserError, match=f"is {model!r}; it must be a folder or an installed model"
        ):
            found("spacy_entities", "en", "", model=model)
    with pytest.raises(UserError, match="cannot be loaded"):
        found("spacy_entities", "en", "", model=str(tmp_path))
    with pytest.raises(UserError, match="is for 'en'; the corpus is 'zh'"):
        found("spacy_entities", "zh", "", model=saved(tmp_path / "en", "en", "entity_ruler"))
    with pytest.raises(UserError, match="finds no entities; it has sentencizer"):
        found("spacy_entities", "en", "", model=saved(tmp_path / "none", "en", "sentencizer"))


def test_the_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(UserError, match=r"pip install 'ernie-cmtl\[spacy\]'"):
        found("spacy_entities", "en", "", model="en")
