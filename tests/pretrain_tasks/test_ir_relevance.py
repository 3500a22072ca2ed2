"""Strong, weak, irrelevant: whose passage stands beside the query, and how a log says it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.instances import make_instance
from tests.support.command_line import result_of
from tests.support.corpora import build_corpus, make_corpus, sample_texts

TOPICS = ["harbour", "orchard", "violin", "glacier"]


def document(topic: str, number: int) -> str:
    """A text on a topic whose every sentence is its own."""
    body = " ".join(
        f"The {topic} has a tale called {topic} {number} {place}." for place in range(12)
    )
    return f"All about the {topic}. {body}"


@pytest.fixture(scope="module")
def topical(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("topical")
    texts = [document(topic, number) for number in range(30) for topic in TOPICS]
    build_corpus(
        folder, texts, layers={"retrieved": {"neighbours": 5}}, tokenizer={"vocabulary_size": 400}
    )
    return Corpus(folder / "corpus")


@pytest.fixture(scope="module")
def titled(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Documents whose first sentence is about another topic than title and text; one of four has no
    title.
    """
    folder = tmp_path_factory.mktemp("titled")
    rows = []
    for number in range(30):
        for place, topic in enumerate(TOPICS):
            body = document(topic, number).partition(". ")[2]
            lead = (
                f"Nothing here of the {TOPICS[place - 1]} and "
                f"{'named' if number % 4 else 'nameless'}."
            )
            rows.append(
                {"text": f"{lead} {body}"} | ({"title": f"Of {topic} tales"} if number % 4 else {})
            )
    (folder / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    layers = {"capitalized_names": {}, "retrieved": {"neighbours": 5}}
    settings: dict[str, Any] = {
        "reader": {"title_field": "title"},
        "layers": layers,
        "tokenizer": {"vocabulary_size": 400},
    }
    make_corpus([str(folder / "text.jsonl")], folder / "corpus", **settings)
    return Corpus(folder / "corpus")


def open_stream(corpus: Corpus, **options: Any) -> SampleStream:
    instance = make_instance("ir_relevance", 0, TaskConfig.model_validate(options), corpus)
    text = corpus.text("train", options.get("table"))
    return SampleStream(instance, text, 96, 1)


def topics(corpus: Corpus) -> list[str]:
    split = corpus.split("train")
    texts = (
        split.passage(*split.document_tokens[d : d + 2].tolist(), ())
        for d in range(split.documents)
    )
    return [
        next(topic for topic in TOPICS if topic in corpus.tokenizer.decode(text.token_ids))
        for text in texts
    ]


def test_a_search_finds_documents_of_the_same_topic_and_never_the_own_one(topical: Corpus) -> None:
    split, names = topical.split("train"), topics(topical)
    for number in range(split.documents):
        others = split.document_layer("retrieved", number)
        found = [number + int(delta) for delta in others if delta]
        assert len(found) == 5
        assert number not in found
        assert [names[other] for other in found] == [names[number]] * 5


def where(split: Any, corpus: Corpus) -> dict[tuple[int, ...], int]:
    """Five tokens in a row -> the one document that has them."""
    places: dict[tuple[int, ...], set[int]] = {}
    for number in range(split.documents):
        ids = split.passage(
            *split.document_tokens[number : number + 2].tolist(), ()
        ).token_ids.tolist()
        for place in range(len(ids) - 15):
            places.setdefault(tuple(ids[place : place + 16]), set()).add(number)
    return {key: next(iter(found)) for key, found in places.items() if len(found) == 1}


def check_labels(corpus: Corpus, count: int) -> None:
    """Find out from the tokens whose passage it is, and compare with what a search found."""
    split = corpus.split("train")
    stream, owners = open_stream(corpus), where(split, corpus)
    checked: Counter[int] = Counter()
    for number in range(2 * count):
        example = stream.example(number)
        if example is None:
            continue
        passage = example.token_ids[example.token_type_ids == 1][:-1].tolist()
        owner = {
            owners[key]
            for place in range(len(passage) - 15)
            if (key := tuple(passage[place : place + 16])) in owners
        }
        assert len(owner) <= 1
        if not owner:
            continue
        query = split.document_at(stream.place(number)[0])
        found = {query + int(delta) for delta in split.document_layer("retrieved", query) if delta}
        other = owner.pop()
        expected = 0 if other == query else 1 if other in found else 2
        assert int(example.targets["relevance"].labels[0]) == expected
        checked[expected] += 1
        if checked.total() == count:
            break
    assert checked.total() == count
    assert min(checked.values()) > count / 5


@pytest.mark.parametrize("texts", ["topical", "titled"])
@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_each_label_follows_from_whose_passage_it_is(
    texts: str, count: int, request: pytest.FixtureRequest
) -> None:
    check_labels(request.getfixturevalue(texts), count)


def test_length_says_nothing_of_the_class(english: Corpus) -> None:
    stream = open_stream(english)
    rows = [
        (len(e.token_ids), int(e.targets["relevance"].labels[0]))
        for n in range(1500)
        if (e := stream.example(n))
    ]
    assert len(rows) > 1000
    lengths, labels = np.array(rows).T
    means = [lengths[labels == label].mean() for label in range(3)]
    assert max(means) - min(means) < 4 * lengths.std() / np.sqrt(len(rows) / 3)


def write_log(path: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kinds = {name: "text" if name in ("query", "title") else "class" for name in rows[0]}
    return {"log": {"file": str(path), "columns": kinds}}


@pytest.mark.parametrize("form", ["grade", "clicks"])
def test_a_log_gives_the_classes_of_the_paper(tmp_path: Path, form: str) -> None:
    expected = {}
    rows = []
    for n in range(60):
        title = f"A page on {'abcdefgh'[n % 8]}{'abcdefgh'[n // 8]} things"
        row: dict[str, Any] = {"query": f"what is {'abcdefgh'[n % 8]}", "title": title}
        label = n % 3
        row |= (
            {"grade": 2 - label}
            if form == "grade"
            else {"shown": int(label < 2), "clicked": int(label == 0)}
        )
        rows.append(row)
        expected[title.lower().replace(" ", "")] = label
    build_corpus(tmp_path, sample_texts("en", 8), labelled=write_log(tmp_path / "log.jsonl", rows))
    corpus = Corpus(tmp_path / "corpus")
    stream = open_stream(corpus, table="log")
    seen = 0
    for number in range(len(stream)):
        example = stream.example(number)
        assert example is not None
        title = corpus.tokenizer.decode(
            example.token_ids[example.token_type_ids == 1][:-1]
        ).replace(" ", "")
        assert int(example.targets["relevance"].labels[0]) == expected[title]
        seen += 1
    assert seen > 40


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({"grade": "7"}, {}, "grades 7 that grades does not name; it names 2, 1, 0"),
        ({"score": "1"}, {}, r"no class column 'grade' \(grade=COLUMN\); there are: score"),
        ({"grade": "1"}, {"grades": {"1": "good"}}, "'strong', 'weak' or 'irrelevant'"),
    ],
)
def test_a_log_that_does_not_fit_is_refused(
    tmp_path: Path, rows: dict[str, str], options: Any, message: str
) -> None:
    table = [{"query": f"what is {n}", "title": f"A page on {n}"} | rows for n in range(20)]
    build_corpus(tmp_path, sample_texts("en", 8), labelled=write_log(tmp_path / "log.jsonl", table))
    with pytest.raises(UserError, match=message):
        open_stream(Corpus(tmp_path / "corpus"), table="log", **options)


def test_a_corpus_without_the_layer_or_without_other_documents_is_refused(tmp_path: Path) -> None:
    build_corpus(tmp_path / "bare", sample_texts("en", 8), layers={})
    with pytest.raises(
        UserError,
        match=r"needs "
        r"layer "
        r"'retrieved', "
        r"which "
        r"the "
        r"corpus "
        r"lacks; "
        r"add "
        r"it "
        r"with "
        r"prepare "
        r".*--layers "
        r"retrieved",
    ):
        open_stream(Corpus(tmp_path / "bare" / "corpus"))
    build_corpus(tmp_path / "one", sample_texts("en", 2), layers={"retrieved": {}})
    with pytest.raises(UserError, match="'ir_relevance' needs text of 3 documents; there is 2"):
        open_stream(Corpus(tmp_path / "one" / "corpus"))


def decoded(corpus: Corpus, number: int) -> str:
    split = corpus.split("train")
    text = split.passage(*split.document_tokens[number : number + 2].tolist(), ())
    return str(corpus.tokenizer.decode(text.token_ids))


def topic_of(text: str) -> str:
    return next(topic for topic in TOPICS if f"the {topic} has a tale" in text)


def test_the_query_is_the_title_where_there_is_one_and_else_the_first_sentence(
    titled: Corpus,
) -> None:
    stream, seen = open_stream(titled), {True: 0, False: 0}
    for number in range(200):
        example = stream.example(number)
        if example is None:
            continue
        query = titled.tokenizer.decode(example.token_ids[example.token_type_ids == 0][1:-1])
        text = decoded(titled, titled.split("train").document_at(stream.place(number)[0]))
        has_title = " and named." in text
        assert query == (
            f"of {topic_of(text)} tales" if has_title else text.partition(".")[0] + "."
        )
        passage = titled.tokenizer.decode(example.token_ids[example.token_type_ids == 1][:-1])
        assert passage.startswith("the ")
        seen[has_title] += 1
    assert min(seen.values()) > 20


def test_inspect_shows_the_title_as_the_query(titled: Corpus) -> None:
    samples = result_of(
        "inspect", "ir_relevance", "--corpus", titled.folder, "--samples", "20", "--length", "96"
    )
    queries = [
        " ".join(sample["input"]).partition(" [SEP]")[0].replace(" ##", "")
        for sample in samples
        if sample["input"]
    ]
    assert (
        sum(query in {f"[CLS] of {topic} tales" for topic in TOPICS} for query in queries)
        > len(queries) / 2
    )


def test_a_search_asks_for_the_title_where_there_is_one(titled: Corpus) -> None:
    split = titled.split("train")
    texts = [decoded(titled, number) for number in range(split.documents)]
    for number, text in enumerate(texts):
        own, lead = (
            topic_of(text),
            next(topic for topic in TOPICS if f"nothing here of the {topic} " in text),
        )
        asked = own if " and named." in text else lead
        found = [
            texts[number + int(delta)]
            for delta in split.document_layer("retrieved", number)
            if delta
        ]
        assert [topic_of(other) for other in found] == [asked] * 5


def test_tokens_of_a_title_are_masked_one_by_one(titled: Corpus) -> None:
    stream = open_stream(titled, masked_tokens=True)
    masked = tokens = 0
    for number in range(400):
        if (example := stream.example(number)) and example.unit_starts is not None:
            query = np.flatnonzero(example.token_type_ids == 0)[1:-1]
            if len(query) > 8:
                continue
            assert (example.unit_starts[query] == 1).all()
            masked += np.isin(query, example.targets["masked_token"].positions).sum()
            tokens += len(query)
    assert 0.12 < masked / tokens < 0.18


def test_the_run_pins_the_titles_of_its_queries(titled: Corpus, topical: Corpus) -> None:
    assert make_instance("ir_relevance", 0, TaskConfig(), titled).task.document_layers == (
        "retrieved",
        "titles",
    )
    assert make_instance("ir_relevance", 0, TaskConfig(), topical).task.document_layers == (
        "retrieved",
    )
