"""Similarity is the correlation of cosines with scores, and a row that is none is named."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ernie_cmtl.corpus.read.tables import read_rows
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.masked_lm import MaskedLanguageModel
from ernie_cmtl.evaluation.similarity import ScoredPair, judge_similarity, scored_pairs
from tests.support.judging import small_model

ROWS = [
    ("A list is sorted.", "A list is sorted again.", 4.5),
    ("The file is read.", "Nobody wrote the manual.", 0.5),
    ('He said "no".', 'She said "no".', 4.0),
    ("A string of digits.", "A string.", 2.5),
    ("Sort the keys of the mapping.", "The keys are sorted.", 3.5),
]


@pytest.fixture(scope="module")
def judged(english: Corpus) -> MaskedLanguageModel:
    return small_model(english)


def table(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["sentence1\tsentence2\tscore", *rows]), encoding="utf-8")
    return path


def read(path: Path) -> list[ScoredPair]:
    return scored_pairs(read_rows(path, None), path)


def test_a_line_ends_where_the_file_says_so(tmp_path: Path) -> None:
    rows = ["a\u2028b\tc\x0bd\t1", "e\tf\x85\t2", "g\th\t3"]
    pairs = read(table(tmp_path / "sts.tsv", rows))
    assert [pair.sentences for pair in pairs] == [
        ("a\u2028b", "c\x0bd"),
        ("e", "f\x85"),
        ("g", "h"),
    ]


@torch.no_grad()
def test_cosines_of_both_poolings_correlate_with_the_scores(
    judged: MaskedLanguageModel, tmp_path: Path
) -> None:
    pairs = read(table(tmp_path / "sts.tsv", ["\t".join(map(str, row)) for row in ROWS]))
    assert [(*pair.sentences, pair.score) for pair in pairs] == ROWS
    found = judge_similarity(judged, pairs)
    for name, pool in (("mean", lambda states: states.mean(0)), ("cls", lambda states: states[0])):
        cosines = []
        for first, second, _ in ROWS:
            vectors = [
                pool(
                    judged.model(
                        **judged.tokenizer(text, return_tensors="pt"), output_hidden_states=True
                    ).hidden_states[-1][0]
                )
                for text in (first, second)
            ]
            cosines.append(float(vectors[0] @ vectors[1] / (vectors[0].norm() * vectors[1].norm())))
        scores = [row[2] for row in ROWS]
        pearson = np.corrcoef(cosines, scores)[0, 1]
        ranks = [np.argsort(np.argsort(values)) for values in (cosines, scores)]
        assert found[name]["pearson"] == pytest.approx(pearson, abs=1e-4)
        assert found[name]["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-6)
        ends = np.tanh(np.arctanh(pearson) + np.array([-1, 1]) * 1.959964 / np.sqrt(len(ROWS) - 3))
        assert found[name]["interval"] == pytest.approx(list(ends), abs=1e-3)
    assert found["pairs"] == len(ROWS)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a\tb\t1", "c\td"], "line 3: 2 fields, the header has 3"),
        (["a\tb\t1\tx"], "line 2: 4 fields, the header has 3"),
        (["a\tb\tx"], "line 2: score 'x' is no number"),
        (["a\tb\tnan"], "line 2: score 'nan' is no number"),
        (["a\t \t1"], "line 2: 'sentence2' is no sentence"),
        (["a\tb\t1", "c\td\t1", "e\tf\t1"], "different scores; there are 3 rows"),
        ([], "there are 0 rows"),
    ],
)
def test_a_row_that_is_no_scored_pair_is_named(
    tmp_path: Path, rows: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(table(tmp_path / "sts.tsv", rows))


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "sts.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "similarity": 1}')
    with pytest.raises(
        UserError,
        match=r"line 1 has no 'score'; needed are .*, it has sentence1, sentence2, similarity",
    ):
        read(tmp_path / "sts.jsonl")


def test_without_scipy_the_extra_is_named(
    judged: MaskedLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = read(table(tmp_path / "sts.tsv", ["a\tb\t1", "c\td\t2", "e\tf\t3"]))
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(UserError, match=r"pip install 'ernie-cmtl\[finetune\]'"):
        judge_similarity(judged, pairs)
