"""Pages of fine-tunings and comparisons."""

import json
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.errors import UserError
from ernie_cmtl.report.judgements import judgement_page
from ernie_cmtl.verbs.report import report

MODELS = [
    {
        **{"learning_rate": rate, "seed": seed, "steps": 60, "loss": 1.4, "one_class": []},
        **{"dev": {"accuracy": 0.5}, "test": {"accuracy": score}},
    }
    for rate, seed, score in ((1e-4, 1, 0.4), (1e-4, 2, 0.5), (1e-3, 1, 0.6), (1e-3, 2, 0.8))
]
FINETUNING: dict[str, Any] = {
    "task": "questions",
    "base_model": "runs/mine",
    "labels": ["place", "person"],
    "kept": MODELS[3],
    "all_models": {
        **{"metric": "accuracy", "split": "test", "learning_rate": 1e-3, "mean": 0.7, "std": 0.14},
        **{"kind": "classification", "examples": {"train": 90, "test": 10}, "runs": MODELS},
        "majority": {"test": {"accuracy": 0.3}},
    },
    "maximum_length": 64,
    "recipe": {
        "kind": "classification",
        "data": {"train": "train.tsv", "dev": "dev.tsv"},
        "columns": {"text": "text", "label": "kind"},
        "train": {"learning_rates": [1e-4, 1e-3]},
    },
}
COMPARISON: dict[str, Any] = {
    "models": ["one", "two"],
    "measures": [
        {
            "name": "pairs: accuracy",
            "count": "6 pairs",
            "reference": 0.5,
            "models": {
                "one": {
                    **{"value": 0.8, "interval": [0.7, 0.9]},
                    **{"difference": None, "difference_interval": None},
                },
                "two": {
                    **{"value": 0.9, "interval": [0.8, 0.95]},
                    **{"difference": 0.1, "difference_interval": [-0.05, 0.25]},
                },
            },
        }
    ],
}


def folder_of(tmp_path: Path, name: str, content: Any) -> Path:
    (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def test_a_fine_tuning_has_a_page(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "finetuning.json", FINETUNING)
    result = report([folder], tmp_path / "page.html", tmp_path / "figures")
    assert result["charts"] == 2
    page = (tmp_path / "page.html").read_text("utf-8")
    for text in (
        "accuracy on test 0.7000 ± 0.1400",
        "<th>rate 0.001 (chosen)</th>",
        "<td>test</td><td>accuracy</td><td>0.3000</td><td>0.4500 ± 0.0707</td>",
        "learning rate 0.001, seed 2",
    ):
        assert text in page
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "dev-accuracy.svg",
        "test-accuracy.svg",
    }


def test_a_comparison_has_a_page(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "comparison.json", COMPARISON)
    assert report([folder], tmp_path / "page.html")["charts"] == 1
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<td>two</td><td>0.9000</td><td>0.8000 to 0.9500</td><td>+0.1000</td>" in page
    assert "-0.0500 to 0.2500" in page


def test_one_seed_and_one_answer_are_warned_of(tmp_path: Path) -> None:
    alone = FINETUNING["all_models"] | {"std": None, "runs": [MODELS[0] | {"one_class": ["dev"]}]}
    page = judgement_page(
        folder_of(tmp_path, "finetuning.json", FINETUNING | {"all_models": alone})
    )
    assert page
    assert list(page.warnings) == [
        "learning rate 0.0001, seed 1: one answer to all rows of dev",
        "one seed: the score has no spread",
    ]


@pytest.mark.parametrize("content", [[], {"models": 3}, {"models": ["one"], "measures": [{}]}])
def test_a_file_that_is_no_comparison_is_refused(tmp_path: Path, content: Any) -> None:
    folder = folder_of(tmp_path, "comparison.json", content)
    with pytest.raises(UserError, match=r"comparison\.json"):
        report([folder], tmp_path / "page.html")
    (folder / "comparison.json").write_text("{")
    with pytest.raises(UserError, match=r"is not JSON"):
        report([folder], tmp_path / "page.html")
