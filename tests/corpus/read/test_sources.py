"""Sources and their mixture, as people name them."""

from pathlib import Path

import pytest

from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.read.sources import check_mixture, find_sources, numbered_documents
from ernie_cmtl.errors import UserError
from tests.support.corpora import write_jsonl


def test_inputs_are_ordered_by_source_and_path_whatever_the_order_of_the_words(
    tmp_path: Path,
) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"{name}.txt").write_text(name)
    words = [
        f"wiki={tmp_path}/b.txt",
        f"{tmp_path}/d.txt",
        f"books={tmp_path}/c.txt",
        f"wiki={tmp_path}/a.txt",
    ]
    expected = [("books", "c.txt"), ("text", "d.txt"), ("wiki", "a.txt"), ("wiki", "b.txt")]
    assert [(item.source, item.input.name) for item in find_sources(words)] == expected
    assert find_sources(words[::-1]) == find_sources(words)


def test_a_path_that_holds_an_equals_sign_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a=b.txt").write_text("text")
    assert [item.source for item in find_sources([f"{tmp_path}/a=b.txt"])] == ["text"]


def test_a_file_of_two_sources_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UserError, match=r"a\.txt is named for two sources: one and two"):
        find_sources([f"two={tmp_path}/a.txt", f"one={tmp_path}"])


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ({"wiki": 0.5, "books": 0.4}, r"must sum to 1; 0\.5 \+ 0\.4 = 0\.9"),
        ({"wiki": 1.5, "books": -0.5}, "negative: books=-0.5"),
        ({"wiki": 1.0}, "no weight to books; sources are books, wiki"),
        (
            {"wiki": 0.5, "books": 0.3, "news": 0.2},
            "names news, which is no source of the corpus; sources are books, wiki",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(mixture: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_mixture(mixture, ["books", "wiki"])


@pytest.mark.parametrize(
    "mixture", [None, {"wiki": 1, "books": 0}, {"wiki": 1 / 3, "books": 2 / 3}]
)
def test_weights_that_fit_pass(mixture: dict[str, float] | None) -> None:
    check_mixture(mixture, ["books", "wiki"])


@pytest.mark.parametrize("start", range(10, 22))
def test_reading_from_a_number_on_is_the_rest_of_reading_all(tmp_path: Path, start: int) -> None:
    sizes = [4, 1, 6]
    for place, size in enumerate(sizes):
        write_jsonl(tmp_path / f"{place}.jsonl", [f"text {place} {row}" for row in range(size)])
    inputs, config = find_sources([str(tmp_path)]), ReaderConfig()
    every = list(numbered_documents(inputs, [], config, 10, 10))
    assert [number for number, _, _ in every] == list(range(10, 21))
    assert list(numbered_documents(inputs, sizes, config, 10, start)) == every[start - 10 :]


def test_an_input_that_ends_before_the_start_is_not_opened(tmp_path: Path) -> None:
    for place in range(2):
        write_jsonl(tmp_path / f"{place}.jsonl", ["text"] * 3)
    inputs = find_sources([str(tmp_path)])
    (tmp_path / "0.jsonl").unlink()
    assert [
        number for number, _, _ in numbered_documents(inputs, [3, 3], ReaderConfig(), 0, 3)
    ] == [3, 4, 5]
