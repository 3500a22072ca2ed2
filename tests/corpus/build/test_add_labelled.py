"""Labelled rows beside the text: what people bring, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.request import added_to
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.store.text_split import TextSplit
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.instances import make_instance
from tests.support.corpora import build_corpus, make_corpus, quiet, sample_texts, write_jsonl

PAIRS = [
    (
        f"The statement {chr(97 + n // 26)}{chr(97 + n % 26)} is true.",
        f"Nobody doubts {n % 7}.",
        ["yes", "no", "maybe"][n % 3],
        n / 4 + 0.1,
    )
    for n in range(60)
]


def write_tsv(
    path: Path, rows: list[tuple[Any, ...]], header: str = "left\tright\tlabel\tscore"
) -> Path:
    path.write_text(
        "\n".join([header, *("\t".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8"
    )
    return path


def store(
    folder: Path, file: Path, columns: dict[str, str] | None = None, **settings: Any
) -> tuple[Corpus, dict[str, Any]]:
    """Prepare a small corpus with one labelled table named `pairs`."""
    labelled = {"pairs": {"file": str(file), "columns": columns}}
    result = build_corpus(folder, sample_texts("en", 8), labelled=labelled, **settings)
    return Corpus(folder / "corpus"), result["labelled"]["pairs"]


def rows_of(corpus: Corpus, rows: TextSplit) -> list[tuple[Any, ...]]:
    """The rows as a person reads them: texts first, then labels."""
    found = []
    for row in range(rows.documents):
        text = rows.passage(*rows.document_tokens[row : row + 2].tolist(), ())
        texts = [
            corpus.tokenizer.decode(text.sentence_range(n, n + 1).token_ids)
            for n in range(text.sentences)
        ]
        profile = corpus.profile.tables["pairs"]
        assert len(texts) == len(profile.texts)
        labels = [
            profile.classes[name][v[row]] if name in profile.classes else v[row].item()
            for name, v in rows.labels.items()
        ]
        found.append((*texts, *labels))
    return found


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("pairs")
    file = write_tsv(folder / "pairs.tsv", [*PAIRS, PAIRS[3], ("", "nothing left", "yes", 1.5)])
    return store(folder, file)


def test_columns_are_guessed_and_every_row_accounted_for(
    pairs: tuple[Corpus, dict[str, Any]],
) -> None:
    _, found = pairs
    assert found["columns"] == {
        "left": "text",
        "right": "text",
        "label": "class (3)",
        "score": "number",
    }
    assert {name: found["rows"][name] for name in ("read", "used", "rejected", "duplicates")} == {
        "read": 62,
        "used": 60,
        "rejected": 1,
        "duplicates": 1,
    }
    assert found["rows"]["train"] + found["rows"]["heldout"] == 60
    assert found["rows"]["heldout"] == 15


def test_every_row_comes_back_with_its_labels(pairs: tuple[Corpus, dict[str, Any]]) -> None:
    corpus, _ = pairs
    found = [
        row
        for split in ("train", "heldout")
        for row in rows_of(corpus, corpus.text(split, "pairs"))
    ]  # type: ignore[arg-type]
    tokenizer = corpus.tokenizer
    plain = {
        tokenizer.decode(tokenizer(left, add_special_tokens=False).input_ids): (label, score)
        for left, _, label, score in PAIRS
    }
    assert len(found) == len(plain) == 60
    assert {left: (label, score) for left, _, label, score in found} == plain


def test_texts_carry_the_layers_of_the_annotation(pairs: tuple[Corpus, dict[str, Any]]) -> None:
    rows = pairs[0].text("train", "pairs")
    text = rows.passage(
        0, int(rows.document_tokens[1]), ("word_starts", "letter_case", "capitalized_names")
    )
    assert text.layers["letter_case"][0] == 2
    assert text.sentences == 2
    assert all(len(layer) == len(text.token_ids) for layer in text.layers.values())


def test_a_task_may_take_its_samples_from_labelled_rows(
    pairs: tuple[Corpus, dict[str, Any]],
) -> None:
    corpus, _ = pairs
    options = TaskConfig.model_validate({"table": "pairs"})
    instance = make_instance("knowledge_masking", 0, options, corpus)
    # Fitted layers are marked in the rows too.
    assert instance.layers == ("word_starts", "capitalized_names", "collocations")
    stream = SampleStream(instance, corpus.text("train", "pairs"), 64, 1)
    assert len(stream) == 45
    assert stream.example(3) is not None
    with pytest.raises(UserError, match="asks for table 'logs'; the corpus has: pairs"):
        make_instance("knowledge_masking", 0, TaskConfig.model_validate({"table": "logs"}), corpus)


def test_rows_that_share_their_first_text_stay_together(tmp_path: Path) -> None:
    rows = [
        (f"question {query}", f"answer {query} {n}", n % 2, n)
        for query in range(12)
        for n in range(5)
    ]
    corpus, _ = store(tmp_path, write_tsv(tmp_path / "log.tsv", rows))
    splits = [
        {row[0] for row in rows_of(corpus, corpus.text(split, "pairs"))}
        for split in ("train", "heldout")
    ]  # type: ignore[arg-type]
    assert len(splits[0]) == 9
    assert len(splits[1]) == 3
    assert not splits[0] & splits[1]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet", ".tsv.gz"])
def test_every_format_of_a_table_gives_the_same(
    pairs: tuple[Corpus, dict[str, Any]], tmp_path: Path, ending: str
) -> None:
    names = ("left", "right", "label", "score")
    file = tmp_path / f"pairs{ending}"
    table = [dict(zip(names, row, strict=True)) for row in PAIRS]
    if ending == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in table))
    elif ending == ".csv":
        file.write_text(
            "left,right,label,score\n" + "".join(f'"{a}","{b}",{c},{d}\n' for a, b, c, d in PAIRS)
        )
    elif ending == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(table), file)
    else:
        import gzip

        file.write_bytes(gzip.compress(write_tsv(tmp_path / "plain.tsv", PAIRS).read_bytes()))
    corpus, _ = store(tmp_path, file)
    for split in ("train", "heldout"):
        expected = rows_of(pairs[0], pairs[0].text(split, "pairs"))  # type: ignore[arg-type]
        assert rows_of(corpus, corpus.text(split, "pairs")) == expected  # type: ignore[arg-type]


def test_named_columns_alone_are_stored_as_what_they_are_called(tmp_path: Path) -> None:
    columns = {"right": "text", "score": "class"}
    corpus, found = store(tmp_path, write_tsv(tmp_path / "pairs.tsv", PAIRS[:12]), columns)
    assert list(found["columns"]) == ["right", "score"]
    rows = corpus.text("train", "pairs")
    profile = corpus.profile.tables["pairs"]
    assert profile.texts == ("right",)
    assert list(rows.labels) == ["score"]
    assert list(profile.classes["score"]) == [str(row[3]) for row in PAIRS[:12]]


def test_numbers_of_classes_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    rows = [(f"text {n}", f"other {n}", n % 11, 0.5) for n in range(40)]
    corpus, _ = store(tmp_path, write_tsv(tmp_path / "pairs.tsv", rows))
    assert list(corpus.profile.tables["pairs"].classes["label"]) == [str(n) for n in range(11)]


def test_a_column_may_have_any_name(tmp_path: Path) -> None:
    file = tmp_path / "odd.jsonl"
    file.write_text(
        "".join(json.dumps({"../a.b/c": f"text number {n}", "": n % 2}) + "\n" for n in range(30))
    )
    corpus, _ = store(tmp_path, file)
    assert corpus.profile.tables["pairs"].texts == ("../a.b/c",)
    assert corpus.text("train", "pairs").documents > 20
    inside = {path.name for path in (corpus.folder / "labelled" / "pairs").iterdir()}
    assert {"labels-1.npy", "token_ids.npy"} <= inside


def test_labelled_rows_are_added_to_a_corpus_that_is_there(tmp_path: Path) -> None:
    build_corpus(tmp_path, sample_texts("en", 8))
    corpus = Corpus(tmp_path / "corpus")
    before, pin = corpus.manifest, corpus.manifest.pin(["word_starts"], [])
    config = PrepareConfig.model_validate(
        {"labelled": {"pairs": {"file": str(write_tsv(tmp_path / "pairs.tsv", PAIRS))}}}
    )
    build(added_to([], tmp_path / "corpus", config), 1, quiet)
    after = Corpus(tmp_path / "corpus")
    assert after.text("train", "pairs").documents == 45
    assert after.manifest.shards == before.shards
    # A run that reads words alone does not care.
    assert (
        after.manifest.pin(["word_starts"], [])
        == pin
        != after.manifest.pin(["word_starts"], ["pairs"])
    )
    assert after.manifest.fingerprint != before.fingerprint
    with pytest.raises(UserError, match="labelled rows named pairs already"):
        added_to([], tmp_path / "corpus", config)


def test_a_changed_byte_of_labelled_rows_is_refused(tmp_path: Path) -> None:
    corpus, _ = store(tmp_path, write_tsv(tmp_path / "pairs.tsv", PAIRS))
    path = corpus.folder / "labelled" / "pairs" / "labels-2.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged: labelled/pairs/labels-2.npy was changed"):
        Corpus(corpus.folder).text("train", "pairs")


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("left\tright\nonly one\nyes\tno\n", None, r"pairs\.tsv.*line 2.*1.*2"),
        ("left\tright\na b\tc d\n", {"middle": "text"}, r"middle.*left, right"),
        (
            "left\tscore\na b\thigh\n",
            {"left": "text", "score": "number"},
            r"column 'score' is to hold numbers; 'high' is none",
        ),
        (
            "a\tb\n1\t2\n",
            None,
            r"no column of text \(a: class, b: class\).*labelled\.NAME\.columns\.COLUMN=text",
        ),
        ("a\tb\n", None, "no column of text .no row was read.; "),
        ("a\n \n", {"a": "text"}, "no usable row"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    tmp_path: Path, content: str, columns: dict[str, str] | None, message: str
) -> None:
    (tmp_path / "pairs.tsv").write_text(content)
    with pytest.raises(UserError, match=message):
        store(tmp_path, tmp_path / "pairs.tsv", columns)


def test_rows_under_a_name_that_is_not_there_are_refused(
    pairs: tuple[Corpus, dict[str, Any]],
) -> None:
    with pytest.raises(UserError, match="no table 'logs'; there are: pairs"):
        pairs[0].text("train", "logs")


def test_one_and_two_processes_store_the_same(tmp_path: Path) -> None:
    file = write_tsv(tmp_path / "pairs.tsv", PAIRS)
    source = write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 8))
    labelled = {"pairs": {"file": str(file)}}
    found = [
        make_corpus([str(source)], tmp_path / str(n), processes=n, labelled=labelled)["fingerprint"]
        for n in (1, 2)
    ]
    assert found[0] == found[1]
    names = [path.name for path in (tmp_path / "1" / "labelled" / "pairs").iterdir()]
    assert sorted(names) == sorted({*names})
    for name in names:
        one, two = (np.load(tmp_path / n / "labelled" / "pairs" / name) for n in ("1", "2"))
        assert one.tolist() == two.tolist()
