"""What holds for every span provider."""

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

import ernie_cmtl.corpus.spans
from ernie_cmtl.corpus.spans import SpanLayer, add_provider_module, find_provider, provider_names
from ernie_cmtl.errors import UserError


def test_names_are_the_files_of_the_providers():
    folder = Path(ernie_cmtl.corpus.spans.__file__).parent
    assert provider_names() == sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", provider_names())
def test_each_provider_says_what_it_is(name):
    kind = find_provider(name)
    assert issubclass(kind, SpanLayer)
    assert kind.source
    assert set(kind.languages) <= {"en", "zh"}
    with pytest.raises(ValidationError, match="extra_forbidden"):
        kind.Options.model_validate({"unknown": 1})


def test_a_language_that_is_not_supported_is_refused():
    kind = find_provider("tagged_names")
    with pytest.raises(UserError, match="'tagged_names' supports zh; the corpus is 'en'"):
        kind(kind.Options(), "en")


def test_an_unknown_provider_is_refused_with_those_that_exist():
    with pytest.raises(UserError, match=r"no span provider named 'names'; registered are .*tagged_names"):
        find_provider("names")


def test_a_module_by_its_full_name_is_a_provider_of_this_process(tmp_path, monkeypatch):
    (tmp_path / "digits.py").write_text(
        "from ernie_cmtl.corpus.spans import SpanProvider\n\nclass Digits(SpanProvider):\n    spans = None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(ernie_cmtl.corpus.spans._PROVIDERS, "_modules", {})
    assert add_provider_module("digits") == "digits"
    assert "digits" in provider_names()
    assert find_provider("digits").__name__ == "Digits"
    del sys.modules["digits"]
