"""Entries of lists."""

import sys

import pytest

from ernie_cmtl.errors import UserError
from tests.support.span_layers import found


def listed(folder, text, name="names.txt"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return [str(path)]


def test_the_leftmost_and_longest_entry_counts(tmp_path):
    files = listed(tmp_path, "New York\nNew York City\nYork City Hall\n\n  Rome  \n")
    assert found("gazetteer", "en", "In New York City Hall, Rome and New York.", files=files) == [
        "New York City",
        "Rome",
        "New York",
    ]


def test_entries_are_whole_words_where_words_have_spaces(tmp_path):
    files = listed(tmp_path, "Rome\nNew York\nNew Yorker Ma\nC++\n")
    text = "Romeo, Rome's, antiRome, New Yorker Man, New York, C++ and C++11"
    assert found("gazetteer", "en", text, files=files) == ["Rome", "New York", "C++", "C++"]


def test_chinese_needs_no_borders(tmp_path):
    files = listed(tmp_path, "北京\n北京大学\n大学生\n王\n")
    assert found("gazetteer", "zh", "他在北京大学生活，王在北京。ABC北京D", files=files) == [
        "北京大学",
        "北京",
        "北京",
    ]
    assert "王" in found("gazetteer", "zh", "王在北京", files=files, minimum_characters=1)


def test_letter_case_is_an_option_that_keeps_places(tmp_path):
    files = listed(tmp_path, "Rome\nistanbul\n")
    assert found("gazetteer", "en", "İ ROME and Rome", files=files) == ["Rome"]
    assert found("gazetteer", "en", "İ ROME and Rome", files=files, case_sensitive=False) == [
        "ROME",
        "Rome",
    ]


def test_entries_stand_in_one_column_of_a_table(tmp_path):
    files = listed(tmp_path, "country\tname\nItaly\tRome\nGermany\tBonn\nMalta\n", "places.tsv")
    assert found("gazetteer", "en", "Rome is in Italy", files=files) == ["Italy"]
    assert found("gazetteer", "en", "Rome is in Italy", files=files, column="name") == ["Rome"]
    with pytest.raises(UserError, match=r"places\.tsv has no column 'city'; it has country, name"):
        found("gazetteer", "en", "", files=files, column="city")


def test_all_files_count(tmp_path):
    files = listed(tmp_path, "Rome\n") + listed(tmp_path, "Bonn\n", "more.txt")
    assert found("gazetteer", "en", "Rome and Bonn", files=files) == ["Rome", "Bonn"]


def test_files_without_entries_are_refused(tmp_path):
    for options, message in [
        ({}, "needs the option 'files'"),
        ({"files": [str(tmp_path / "none.txt")]}, r"none\.txt cannot be read"),
        (
            {"files": listed(tmp_path, "\n \n", "blank.txt")},
            r"blank\.txt holds no entry of at least 2 characters",
        ),
        ({"files": listed(tmp_path, "", "empty.tsv")}, r"empty\.tsv holds no entry"),
        (
            {"files": listed(tmp_path, "Rome\n"), "minimum_characters": 5},
            "no entry of at least 5 characters",
        ),
    ]:
        with pytest.raises(UserError, match=message):
            found("gazetteer", "en", "", **options)


def test_the_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ahocorasick", None)
    with pytest.raises(UserError, match=r"pip install 'ernie-cmtl\[gazetteer\]'"):
        found("gazetteer", "en", "", files=listed(tmp_path, "Rome\n"))
