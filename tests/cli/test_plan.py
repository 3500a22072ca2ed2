"""The verb plan, as people call it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from ernie_cmtl.cli.app import app
from ernie_cmtl.config import load_run_config
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "configs" / "paper"
PRESET = {
    "budget": 12,
    "tasks": {"knowledge_masking": None, "capitalization": None, "sentence_order": {"budget": 5}},
}


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["plan", *map(str, words)])


def result_of(*words: str | Path) -> dict[str, Any]:
    done = call(*words, "--json")
    assert done.exit_code == 0, done.stderr
    return dict(json.loads(done.stdout))


def config_of(folder: Path, **settings: Any) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({"run": "run", "corpus": "nowhere"} | settings, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("continual", [[50], [50], [50], [50]]),
        ("multitask", [[50, 50, 50, 50]]),
        ("continual_multitask", [[20], [10, 30], [10, 10, 40], [10, 10, 10, 50]]),
        ("continual_multitask_mlm", [[20], [10, 30], [10, 10, 40], [10, 10, 10, 50]]),
    ],
)
def test_the_configs_of_the_paper_give_its_table(name: str, table: list[list[int]]) -> None:
    plan = result_of(PAPER / f"{name}.yaml")
    assert [
        [budget // 1000 for budget in stage["budgets"].values()] for stage in plan["stages"]
    ] == table
    assert list(plan["totals"].values()) == [50_000] * 4
    assert (plan["total"], plan["unit"]) == (200_000, "iterations")
    # 768 rows of 512 tokens a step.
    assert plan["tokens"] == 200_000 * 768 * 512
    assert plan["flops"] > 6 * 85_000_000 * plan["tokens"]


def test_the_table_is_printed_as_the_paper_does() -> None:
    shown = call(PAPER / "continual_multitask.yaml").stdout
    rows = {
        words[0]: words[1:]
        for line in shown.splitlines()
        if (words := line.replace("│", " ").split())
    }
    assert rows["knowledge_masking"] == ["20,000", "10,000", "10,000", "10,000", "50,000"]
    assert rows["sentence_reordering"] == ["-", "-", "-", "50,000", "50,000"]
    assert rows["steps"] == ["20,000", "40,000", "60,000", "80,000", "200,000"]


def test_hours_follow_from_the_hardware() -> None:
    words = (PAPER / "multitask.yaml", "--peak-tflops", "989", "--mfu", "0.35")
    one, eight = result_of(*words), result_of(*words, "--gpus", "8")
    assert one["hours"] == pytest.approx(one["flops"] / (989e12 * 0.35) / 3600, abs=1e-3)
    assert eight["hours"] == pytest.approx(one["hours"] / 8, abs=1e-3)
    assert result_of(PAPER / "multitask.yaml")["hours"] is None


def test_each_worker_has_its_part_of_every_task() -> None:
    plan = result_of(PAPER / "continual_multitask.yaml", "--workers", "6")
    second = plan["stages"][1]
    assert second["each_worker"]["rows"] == 128
    assert second["each_worker"]["groups"] == 8
    assert second["each_worker"]["tokens"] == {
        "knowledge_masking": 10_000 * 128 * 512,
        "capitalization": 30_000 * 128 * 512,
    }
    refused = call(PAPER / "continual_multitask.yaml", "--workers", "5")
    assert refused.exit_code == 2
    assert (
        "5 workers cannot share 48 groups of rows evenly; accepted: [1, 2, 3, 4, 6, 8"
        in " ".join(refused.stderr.split())
    )


def test_a_corpus_tells_how_often_samples_come(english: Corpus, tmp_path: Path) -> None:
    config = config_of(
        tmp_path, preset=PRESET, data={"row_length": 64, "rows": 8, "rows_per_group": 8}
    )
    assert result_of(config)["epochs"] is None
    plan = result_of(config, "--corpus", english.folder)
    text = english.split("train")
    # All of the text, and two special tokens a sample; 12 steps of 512 tokens.
    rounds = 12 * 512 / text.tokens
    assert rounds * 0.9 < plan["epochs"]["knowledge_masking"] < rounds
    assert plan["vocabulary_size"] == english.vocabulary.size
    assert plan["warnings"] == []
    many = result_of(config, "--corpus", english.folder, "preset.budget=20000")
    assert "knowledge_masking goes" in many["warnings"][0]


def test_a_preset_masks_tokens_in_every_task_but_where_a_task_says_otherwise(
    tmp_path: Path,
) -> None:
    settings = load_run_config(
        config_of(tmp_path, preset=PRESET, tasks={"sentence_order": {"masked_tokens": False}})
    )
    assert {name: task.options["masked_tokens"] for name, task in settings.tasks.items()} == {
        "knowledge_masking": True,
        "capitalization": True,
        "sentence_order": False,
    }
    plain = load_run_config(config_of(tmp_path, preset=PRESET), ["preset.name=continual_multitask"])
    assert plain.tasks == {}
    assert plain.stages == settings.stages


def test_samples_that_are_shorter_than_rows_are_told_and_counted(tmp_path: Path) -> None:
    data = {"row_length": 64, "rows": 8, "rows_per_group": 8}
    short = data | {"row_length": 32, "rows": 16}
    packed = config_of(tmp_path, preset=PRESET, data=data | {"maximum_length": 32})
    assert "8 rows of 64 tokens a step, samples of up to 32" in " ".join(
        call(packed).stdout.split()
    )
    found = result_of(packed)
    assert found["stages"][0]["maximum_length"] == 32
    # Rows hold no more pairs of places than their samples do.
    assert found["flops"] == result_of(config_of(tmp_path, preset=PRESET, data=short))["flops"]
    assert found["flops"] < result_of(config_of(tmp_path, preset=PRESET, data=data))["flops"]
    assert "samples of up to" not in call(config_of(tmp_path, preset=PRESET, data=data)).stdout


def test_budgets_may_count_tokens(tmp_path: Path) -> None:
    stages = [
        {"name": "one", "budgets": {"knowledge_masking": 5000}},
        {
            "name": "two",
            "budgets": {"knowledge_masking": 2600, "capitalization": 6400},
            "row_length": 32,
        },
    ]
    data = {"row_length": 64, "rows": 8, "rows_per_group": 8}
    found = load_run_config(config_of(tmp_path, unit="tokens", stages=stages, data=data))
    # Steps of 512 and of 256 tokens: 9.8, 10.2 and 25.
    assert [stage.budgets for stage in found.stages] == [
        {"knowledge_masking": 10},
        {"knowledge_masking": 10, "capitalization": 25},
    ]
    assert found.stages[1].row_length == 32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"preset": {"budget": 0, "tasks": {"capitalization": {}}}},
            "budget of 'capitalization' is 0; it must be at least 1",
        ),
        (
            {"preset": PRESET, "stages": [{"name": "a", "budgets": {"capitalization": 1}}]},
            "a preset or stages, not both",
        ),
        ({"preset": PRESET | {"naem": "continual"}}, "unknown key 'naem'; did you mean 'name'?"),
        (
            {"preset": PRESET | {"review": 0.5}},
            "review 0.5 of task 'knowledge_masking' in 2 later stages leaves nothing",
        ),
        ({"presett": PRESET}, "unknown key 'presett'; did you mean 'preset'?"),
        (
            {"preset": PRESET, "unit": "epochs"},
            "unknown unit 'epochs' of the budgets; accepted: iterations, tokens",
        ),
        ({"preset": {"budget": 4, "tasks": {"capitals": {}}}}, "no task named 'capitals'"),
        ({"stages": [{"name": "empty", "budgets": {}}]}, "at least one task"),
        (
            {"stages": [{"name": "a", "budgets": {"capitalization": -4}}]},
            "budget of 'capitalization' is -4",
        ),
        (
            {"stages": [{"name": "a", "budgets": {"capitalization": 4}}], "feedback": {"every": 0}},
            "feedback.every",
        ),
        (
            {
                "stages": [{"name": "a", "budgets": {"capitalization": 4}}],
                "feedback": {"every": 9, "cap": 0.5},
            },
            "feedback.cap",
        ),
        (
            {"stages": [{"name": "a", "steps": 4, "mixing": {"examples": {"capitalization": 0}}}]},
            "has 0 examples",
        ),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_one_message(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    done = call(config_of(tmp_path, **settings))
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_task_twice_in_a_stage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "run: r\ncorpus: c\nstages:\n- name: a\n  budgets:\n    capitalization: 1\n    "
        "capitalization: 2\n"
    )
    with pytest.raises(UserError, match="capitalization"):
        load_run_config(path)


def test_masking_is_read_as_the_task_reads_it(tmp_path: Path) -> None:
    """Operations of the vocabulary's head follow the mean of the rates of a task's samples."""

    def flops(**masking: float) -> int:
        stages = [{"name": name, "budgets": {"words": 50}} for name in ("a", "b")]
        data = {"row_length": 64, "rows": 8, "rows_per_group": 8}
        tasks = {"words": {"type": "knowledge_masking", "masking": masking}}
        return int(result_of(config_of(tmp_path, stages=stages, data=data, tasks=tasks))["flops"])

    low, high = flops(rate=0.1), flops(rate=0.3)
    # 800 samples of 64 tokens.
    assert flops(rate=0.1, final_rate=0.3, samples=800) == pytest.approx((low + high) / 2, rel=1e-6)
    half = flops(rate=0.1, final_rate=0.3, samples=400)
    assert half == pytest.approx(low * 0.25 + high * 0.75, rel=1e-6)
    assert flops(rate=0.1, final_rate=0.3, samples=10**9) == pytest.approx(low, rel=1e-4)


def test_a_mistake_in_masking_is_one_message(tmp_path: Path) -> None:
    tasks = {"knowledge_masking": {"masking": {"rate": 2}}}
    done = call(config_of(tmp_path, preset=PRESET, tasks=tasks))
    assert done.exit_code == 2
    assert "tasks.knowledge_masking: masking.rate" in " ".join(done.stderr.split())


def test_a_plan_without_hours_says_how_to_get_them() -> None:
    shown = " ".join(call(PAPER / "multitask.yaml").stdout.split())
    assert "hours give --peak-tflops and --mfu; ernie-cmtl bench" in shown
