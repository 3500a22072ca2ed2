"""What holds for every layer."""

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

import ernie_cmtl.corpus.layers
from ernie_cmtl.corpus.layers import Layer, add_layer_module, find_layer, layer_names
from ernie_cmtl.errors import UserError


def test_names_are_the_files_of_the_layers():
    folder = Path(ernie_cmtl.corpus.layers.__file__).parent
    assert layer_names() == sorted(
        path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")
    )


@pytest.mark.parametrize("name", layer_names())
def test_each_layer_says_what_it_is(name):
    kind = find_layer(name)
    assert issubclass(kind, Layer)
    assert kind.citation
    assert set(kind.languages) <= {"en", "zh"}
    with pytest.raises(ValidationError, match="extra_forbidden"):
        kind.Options.model_validate({"unknown": 1})


def test_a_language_that_is_not_supported_is_refused():
    kind = find_layer("tagged_names")
    with pytest.raises(UserError, match="'tagged_names' supports zh; the corpus is 'en'"):
        kind(kind.Options(), "en")


def test_an_unknown_layer_is_refused_with_those_that_exist():
    with pytest.raises(UserError, match=r"no layer named 'names'; registered are .*tagged_names"):
        find_layer("names")


def test_a_module_by_its_full_name_is_a_layer_of_this_process(tmp_path, monkeypatch):
    (tmp_path / "digits.py").write_text(
        "from ernie_cmtl.corpus.layers import SpanProvider\n\nclass Digits(SpanProvider):\n    "
        "spans = None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(ernie_cmtl.corpus.layers._LAYERS, "_modules", {})
    assert add_layer_module("digits") == "digits"
    assert "digits" in layer_names()
    assert find_layer("digits").__name__ == "Digits"
    del sys.modules["digits"]


def test_only_layers_of_spans_are_spans_of_the_corpus(english, chinese):
    for corpus in (english, chinese):
        made = {name: find_layer(name).marks_spans for name in corpus.manifest.layer_options}
        assert corpus.profile.spans == tuple(name for name, marks in made.items() if marks)
        assert set(made) <= set(corpus.profile.layers)


def test_a_task_is_told_the_options_of_the_layers(english):
    assert english.profile.layer_options["capitalized_names"] == {"minimum_words": 1}
    assert english.profile.layer_options["collocations"]["minimum_count"] == 4
