"""`tasks check` on tasks that live outside the repository: a sound one, and one for each thing that
may be wrong.
"""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ernie_cmtl import task_registry
from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.task_checks.check import TaskCheck
from ernie_cmtl.task_registry import add_task_module, find_task, task_names
from ernie_cmtl.verbs.tasks_check import tasks_check
from tests.support.labelled_rows import SUPERVISED
from tests.support.toy_tasks import SOUND, variant

SAMPLES = 1000
LABEL, SEGMENTS = (
    "label = int(rng.integers(2))",
    "segments = [self.mix(halves[0], label), halves[1]]",
)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules that can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(task_registry.TASKS, "_modules", {})
    yield tmp_path
    sys.modules.pop("toy", None)


def check_source(outside: Path, corpus: Corpus, source: str, samples: int = SAMPLES) -> TaskCheck:
    (outside / "toy.py").write_text(source)
    importlib.invalidate_caches()
    add_task_module("toy")
    return tasks_check(corpus, "toy", TaskConfig(), 64, samples, 1)


def broken(result: TaskCheck) -> dict[str, str]:
    return {rule["name"]: rule["detail"] for rule in result["contract"] if not rule["passed"]}


def leaking(result: TaskCheck) -> set[str]:
    return {leak["baseline"] for leak in result["leaks"] if leak["leaks"]}


def test_a_sound_task_passes(outside, english):
    result = check_source(outside, english, SOUND)
    assert (broken(result), leaking(result), result["passed"]) == ({}, set(), True)
    assert result["remarks"] == []
    # The held-out text is small: it may be read eight times and no more.
    assert result["samples"]["train"] == SAMPLES
    assert SAMPLES // 4 < result["samples"]["heldout"] <= SAMPLES // 2
    shares = result["balance"]["swapped"]["classes"]
    assert set(shares) == {"kept", "swapped"}
    assert shares["kept"] == pytest.approx(0.5, abs=0.06)
    assert result["tokens_per_second"] > 1000
    assert len({leak["baseline"] for leak in result["leaks"]}) == 9
    assert {leak["samples"] for leak in result["leaks"]} == {result["samples"]["heldout"]}
    assert all(0.5 <= leak["chance"] < 0.6 for leak in result["leaks"])


CUT = "segments = [half.part(0, max(1, len(half.token_ids) // (1 + label))) for half in halves]"
SHORTER = "segments = [halves[0], halves[1].part(0, len(halves[1].token_ids) - label)]"
FIRST = "segments = [self.put(halves[0], 0, [500 + label]), halves[1]]"
LEAKS = {
    "length": (SEGMENTS, CUT),
    "segment_lengths": (
        SEGMENTS,
        "middle = len(text.token_ids) // 3; segments = [text.part(0, middle * (1 + label)), "
        "text.part(middle * (1 + label), len(text.token_ids))]",
    ),
    "truncation": (SEGMENTS, SHORTER),
    "edge_tokens": (SEGMENTS, FIRST),
    "segments": (SEGMENTS, "segments = halves if label else [text]"),
    "passage_position": (
        LABEL,
        "label = int(2 * text.start > "
        "sum(corpus.document_tokens[corpus.document_at(text.start):][:2]))",
    ),
    "bag_of_words": (SEGMENTS, "segments = [self.put(halves[0], 1, [500 + label]), halves[1]]"),
}


@pytest.mark.parametrize(("baseline", "change"), LEAKS.items(), ids=list(LEAKS))
def test_a_planted_leak_is_named(outside, english, baseline, change):
    result = check_source(outside, english, variant(change))
    assert broken(result) == {}
    assert not result["passed"]
    assert baseline in leaking(result)
    found = next(leak for leak in result["leaks"] if leak["baseline"] == baseline)
    assert found["accuracy"] > found["chance"] + 0.05


def test_a_declared_leak_is_let_pass_and_no_other(outside, english):
    known = dict.fromkeys(("edge_tokens", "edge_classes", "bag_of_words"), "by nature")
    declared = ('citation = "test"', f'citation = "test"\n    known_leaks = {known}')
    result = check_source(outside, english, variant((SEGMENTS, FIRST), declared))
    assert "edge_tokens" in leaking(result)
    assert {
        leak["baseline"]: leak["allowed"] for leak in result["leaks"] if leak["allowed"]
    } == known
    assert result["passed"]
    del known["edge_tokens"]
    sys.modules.pop("toy")
    task_registry.TASKS._modules.clear()
    declared = ('citation = "test"', f'citation = "test"\n    known_leaks = {known}')
    assert not check_source(outside, english, variant((SEGMENTS, FIRST), declared))["passed"]


EXAMPLE = "return example"
SPOILT = {
    "class never drawn": (
        (LABEL, "label = 0"),
        "classes",
        r"class 'swapped' was never drawn in \d+ labels",
    ),
    "label out of range": (
        (LABEL, "label = int(rng.integers(3))"),
        "labels",
        r"head 'swapped': label 2 is outside 0\.\.1",
    ),
    "labels of another type": (
        ("np.array([label])", "np.array([float(label)])"),
        "labels",
        "float64 .* expected int64",
    ),
    "chance of its own": (
        (LABEL, "label = int(np.random.default_rng().integers(2))"),
        "seed",
        "differs when it is made again",
    ),
    "memory": (
        (LABEL, "self.made = getattr(self, 'made', 0) + 1; label = self.made % 2"),
        "seed",
        "state that is kept",
    ),
    "label at a word": (("place = 0", "place = 1"), "positions", r"does not stand at \[CLS\]"),
    "label outside": (("place = 0", "place = 99"), "positions", "positions 99..99 in an example"),
    "another head": (
        ('HeadSpec("swapped"', 'HeadSpec("order"'),
        "heads",
        "'swapped', which is no declared head",
    ),
    "a layer not declared": (
        ("place = 0", "place = 0 * text.layers['word_starts'][0]"),
        "examples",
        "'word_starts' is read and not",
    ),
    "a layer not read": (
        ("return ()", "return ('word_starts',)"),
        "layers",
        "'word_starts' is declared and never read",
    ),
    "a slot too small": (
        ("length - 3, 3,", "length - 3, 2,"),
        "slots",
        r"tokens in a slot of \d+ in a row of 64",
    ),
    "no last separator": (
        (
            EXAMPLE,
            "return type(example)(example.token_ids[:-1], example.token_type_ids[:-1], "
            "example.targets)",
        ),
        "specials",
        r"does not end with \[SEP\]",
    ),
    "types": (
        (
            EXAMPLE,
            "return type(example)(example.token_ids, 0 * example.token_type_ids, example.targets)",
        ),
        "specials",
        "token types",
    ),
    "writes to the text": (
        ("place = 0", "place = 0; text.token_ids[0] = 7"),
        "text unchanged",
        "written to",
    ),
    "hardly any example": (
        ("place = 0", "place = 0\n        if rng.random() < 0.7: return None"),
        "targets",
        r"only \d+ of \d+ samples",
    ),
    "nothing at all": (
        ("place = 0", "return None"),
        "examples",
        "no training sample holds anything",
    ),
    "an unknown leak": (
        ('citation = "test"', 'citation = "test"; known_leaks = {"size": "x"}'),
        "known leaks",
        "'size'; baselines are maj",
    ),
    "an error": (
        ("place = 0", "place = 1 // (text.sentences - 3)"),
        "examples",
        r"sample \d+: ZeroDivisionError",
    ),
    "needs a next document": (
        (
            "place = 0",
            "place = 0; n = corpus.document_at(text.start) + 1; b = corpus.document_tokens; n = 0 "
            "if n == corpus.documents else n; corpus.passage(int(b[n]), int(b[n + 1]), "
            "()).token_ids[0]",
        ),
        "empty documents",
        "IndexError",
    ),
}


@pytest.mark.parametrize(("change", "rule", "reason"), SPOILT.values(), ids=list(SPOILT))
def test_what_breaks_the_contract_is_named(outside, english, change, rule, reason):
    result = check_source(outside, english, variant(change), samples=300)
    assert not result["passed"]
    found = broken(result)
    assert rule in found
    assert re.search(reason, found[rule]), found


def test_a_class_that_few_labels_leave_out_is_no_fault(outside, english):
    result = check_source(outside, english, variant((LABEL, "label = 0")), samples=30)
    assert "classes" not in broken(result)


@pytest.mark.parametrize(
    ("name", "language"),
    [
        (name, language)
        for name in task_names()
        if name not in SUPERVISED
        for language in find_task(name).languages
    ],
)
def test_tasks_of_the_package_keep_their_contract(name, language, request):
    corpus: Corpus = request.getfixturevalue({"en": "english", "zh": "chinese"}[language])
    result = tasks_check(corpus, name, TaskConfig(), 128, 100, 1)
    assert broken(result) == {}
    assert result["balance"]


def test_a_class_with_most_of_the_labels_is_remarked_upon(outside, english):
    rare = variant((LABEL, "label = int(rng.random() < 0.15)"))
    found = check_source(outside, english, rare)
    majority = found["balance"]["swapped"]["majority"]
    assert majority == pytest.approx(0.85, abs=0.05)
    assert [f"{majority:.1%} of the labels are kept" in remark for remark in found["remarks"]] == [
        True
    ]
