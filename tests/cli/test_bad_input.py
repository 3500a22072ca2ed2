"""What a task cannot be made from is refused by every verb that makes examples, with one message,
before the first step.
"""

import json
from pathlib import Path

import pytest
import yaml

from tests.support.command_line import RUN, mistake, squeezed
from tests.support.corpora import build_corpus, sample_texts, write_jsonl

VERBS = ["inspect", "check", "pretrain"]
LAYERS = {
    "token_document_relation": "document_counts",
    "term_frequency": "document_counts",
    "tf_idf": "document_counts",
    "discourse_relation": "discourse_markers",
    "ir_relevance": "retrieved",
}
OTHER_DOCUMENTS = {
    "adjacent_sentence": 2,
    "sentence_distance": 2,
    "quick_thoughts": 2,
    "ir_relevance": 3,
}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus without layers, one of a single document, and one with a query log whose grades are
    other than is usual.
    """
    folder = tmp_path_factory.mktemp("corpora")
    build_corpus(folder / "bare", sample_texts("en", 8), layers={})
    build_corpus(folder / "single", sample_texts("en", 1), layers={"retrieved": {}})
    rows = [
        {"query": f"what is {n}", "title": f"A page on {n}", "grade": n % 2 * 7} for n in range(40)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"query": "text", "title": "text", "grade": "class"}
    labelled = {"log": {"file": str(folder / "log.jsonl"), "columns": columns}}
    build_corpus(folder / "graded", sample_texts("en", 8), layers={}, labelled=labelled)
    return folder


def refused(verb: str, task: str, corpus: Path, run: Path, *options: str) -> str:
    """Return the one message that a verb refuses a task with, after checking that no step was
    made.
    """
    if verb == "inspect":
        return mistake("inspect", task, "--corpus", corpus, *options)
    if verb == "check":
        return mistake("tasks", "check", task, "--corpus", corpus, "--samples", "20", *options)
    settings = RUN | {
        "run": str(run),
        "corpus": str(corpus),
        "stages": [{"name": "only", "budgets": {task: 2}}],
    }
    (run.parent / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    message = mistake(
        "pretrain", run.parent / "run.yaml", *(f"tasks.{task}.{option}" for option in options)
    )
    assert not (run / "metrics.jsonl").exists()
    assert not (run / "checkpoints").exists()
    return message


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("task", LAYERS)
def test_a_corpus_without_the_layer_is_refused_with_the_way_to_add_it(
    corpora: Path, tmp_path: Path, verb: str, task: str
) -> None:
    message = refused(verb, task, corpora / "bare" / "corpus", tmp_path / "run")
    layer = LAYERS[task]
    assert squeezed(f"task '{task}' needs layer '{layer}', which the corpus lacks") in message
    assert squeezed(f"prepare --corpus DIR --layers {layer}") in message
    assert squeezed("it has word_starts, letter_case") in message


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("task", OTHER_DOCUMENTS)
def test_a_corpus_of_one_document_is_refused_by_tasks_that_need_another(
    corpora: Path, tmp_path: Path, verb: str, task: str
) -> None:
    corpus = corpora / "single" / "corpus"
    message = refused(verb, task, corpus, tmp_path / "run")
    # A run opens what is held out first, and of one document nothing is.
    split = f"the heldout split of {corpus} (0 documents): " if verb == "pretrain" else ""
    there = 0 if verb == "pretrain" else 1
    assert (
        squeezed(
            f"{split}task '{task}' needs text of {OTHER_DOCUMENTS[task]} documents; there is "
            f"{there}"
        )
        in message
    )


@pytest.mark.parametrize("verb", VERBS)
def test_a_query_log_with_unknown_grades_is_refused(
    corpora: Path, tmp_path: Path, verb: str
) -> None:
    message = refused(
        verb, "ir_relevance", corpora / "graded" / "corpus", tmp_path / "run", "table=log"
    )
    assert (
        squeezed("table 'log' has grades 7 that grades does not name; it names 2, 1, 0") in message
    )


@pytest.mark.parametrize("verb", VERBS)
def test_rows_that_are_not_there_are_refused(corpora: Path, tmp_path: Path, verb: str) -> None:
    message = refused(
        verb, "discourse_relation", corpora / "graded" / "corpus", tmp_path / "run", "table=pairs"
    )
    assert (
        squeezed("task 'discourse_relation' asks for table 'pairs'; the corpus has: log") in message
    )


def test_a_list_that_names_a_marker_twice_is_refused_before_anything_is_read(
    tmp_path: Path,
) -> None:
    """The list is a setting of the corpus, so no run ever sees such a one."""
    write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 8))
    (tmp_path / "markers.txt").write_text("however\nindeed\nHowever\n")
    words = (
        "prepare",
        "--input",
        tmp_path / "text.jsonl",
        "--output",
        tmp_path / "corpus",
        "--language",
        "en",
    )
    message = mistake(
        *words,
        "--layers",
        "discourse_markers",
        f"layers.discourse_markers.files=[{tmp_path / 'markers.txt'}]",
    )
    assert squeezed("markers stand in the lists twice: however") in message
    assert not (tmp_path / "corpus").exists()
