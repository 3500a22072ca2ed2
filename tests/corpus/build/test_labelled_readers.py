"""Tables that people have at hand, such as IMDb's, stored as they come."""

import json
from pathlib import Path

import pytest

from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.progress import Progress
from ernie_cmtl.corpus.build.request import new_corpus
from ernie_cmtl.corpus.store.corpus import Corpus
from tests.support.command_line import mistake, result_of
from tests.support.corpora import quiet
from tests.support.labelled_rows import opinions, write_class_folders, write_conll


def prepare(folder: Path, source: Path, *words: str) -> tuple[str | Path, ...]:
    base = ("prepare", "--output", folder / "corpus", "--language", "en", "--processes", "1")
    return (*base, "--labelled", f"own={source}", *words)


def test_a_folder_of_class_folders_is_a_table_of_text_and_label(tmp_path: Path) -> None:
    # So few that a guess would not take the label for a class.
    texts = {name: found[:4] for name, found in opinions().items()}
    folder = write_class_folders(tmp_path / "aclImdb" / "train", texts)
    result = result_of(*prepare(tmp_path, folder))
    assert result["labelled"]["own"]["columns"] == {"text": "text", "label": "class (2)"}
    assert result["labelled"]["own"]["rows"]["used"] == 8
    table = Corpus(tmp_path / "corpus").profile.tables["own"]
    assert table.classes == {"label": ("neg", "pos")}
    shown = result_of(
        *("inspect", "supervised", "table=own", "--corpus", tmp_path / "corpus"),
        *("--samples", "6"),
    )
    assert {sample["targets"]["label"][0][1] for sample in shown} == {"neg", "pos"}
    # Both splits at once would put the test into the training.
    message = mistake(*prepare(tmp_path / "both", folder.parent))
    assert "liesinafolderinsideoftrain" in message
    assert message.endswith("aclImdb/train")


def test_a_folder_that_changed_after_a_build_was_broken_off_begins_it_anew(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(news: Progress) -> None:
        if news.stage == "labelled":
            raise StopError

    folder = write_class_folders(tmp_path / "train", opinions())
    config = PrepareConfig.model_validate({"labelled": {"own": {"file": str(folder)}}})
    times = []
    for change in (None, None, "begun begun before the film"):
        if change:
            (folder / "pos" / "0_0.txt").write_text(change)
        with pytest.raises(StopError):
            build(new_corpus([], tmp_path / "corpus", "en", config), 1, stop)
        times.append((tmp_path / "corpus" / "tokenizer" / "tokenizer.json").stat().st_mtime_ns)
    assert times[0] == times[1] < times[2]
    build(new_corpus([], tmp_path / "corpus", "en", config), 1, quiet)
    assert "begun" in Corpus(tmp_path / "corpus").tokenizer.get_vocab()


def test_a_csv_of_reviews_is_read_as_it_is(tmp_path: Path) -> None:
    lines = [
        f'"A ""quoted"" word,<br />and {text}",{"positive" if name == "pos" else "negative"}'
        for name, texts in opinions().items()
        for text in texts
    ]
    (tmp_path / "IMDB Dataset.csv").write_text("\n".join(["review,sentiment", *lines]) + "\n")
    result = result_of(*prepare(tmp_path, tmp_path / "IMDB Dataset.csv"))
    assert result["labelled"]["own"]["columns"] == {"review": "text", "sentiment": "class (2)"}
    shown = result_of(
        *("inspect", "supervised", "table=own", "label=sentiment"),
        *("--corpus", tmp_path / "corpus", "--samples", "1"),
    )
    assert shown[0]["targets"]["label"][0][1] in {"negative", "positive"}


def test_a_file_of_tagged_words_is_a_table_of_words_and_tags(tmp_path: Path) -> None:
    result = result_of(*prepare(tmp_path, write_conll(tmp_path / "tagged.txt")))
    assert result["labelled"]["own"]["columns"] == {"words": "text", "tags": "tags (3)"}


def test_a_list_of_words_beside_a_class_is_a_text(tmp_path: Path) -> None:
    rows = [{"words": text.split(), "label": n} for n, t in opinions().items() for text in t]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = result_of(*prepare(tmp_path, tmp_path / "rows.jsonl"))
    assert result["labelled"]["own"]["columns"] == {"words": "text", "label": "class (2)"}
    corpus = Corpus(tmp_path / "corpus")
    split = corpus.text("train", "own")
    text = corpus.tokenizer.decode(split.passage(0, int(split.document_tokens[1]), ()).token_ids)
    assert text.startswith("the film of ")


@pytest.mark.parametrize(
    ("texts", "part"),
    [
        ({}, "notextinfolder"),
        ({"pos": ["fine"]}, "hasoneclassfolder,pos"),
    ],
)
def test_a_folder_without_classes_is_a_mistake(
    tmp_path: Path, texts: dict[str, list[str]], part: str
) -> None:
    (tmp_path / "own").mkdir()
    write_class_folders(tmp_path / "own", texts)
    assert part in mistake(*prepare(tmp_path, tmp_path / "own"))


def test_a_file_that_is_not_utf_8_is_a_mistake_that_names_it(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "train", opinions())
    (folder / "neg" / "3_3.txt").write_bytes(b"caf\xe9")
    assert "neg/3_3.txt:byte3ofthefileisnoUTF-8" in mistake(*prepare(tmp_path, folder))


def test_a_column_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "train", opinions())
    words = ("labelled.own.columns.text=text", "labelled.own.columns.stars=class")
    assert "nocolumn'stars';itscolumns:text,label" in mistake(*prepare(tmp_path, folder, *words))
