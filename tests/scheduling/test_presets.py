"""Presets: the tables that they write."""

from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ernie_cmtl.scheduling.plan import Plan
from ernie_cmtl.scheduling.presets import Preset
from ernie_cmtl.scheduling.rounding import round_table
from ernie_cmtl.scheduling.stages import Stage, StageTable

FOUR = {"words": {}, "capitals": {}, "documents": {}, "order": {}}
ENTRIES = st.fractions(0, 40, max_denominator=31)


def budgets(preset: Preset) -> list[list[int]]:
    """The table as the paper prints it: a row for each stage, in order of introduction."""
    return [[stage.budgets.get(task, 0) for task in preset.tasks] for stage in preset.stages()]


def test_the_table_of_the_paper() -> None:
    thousands = {
        "continual": [[50, 0, 0, 0], [0, 50, 0, 0], [0, 0, 50, 0], [0, 0, 0, 50]],
        "multitask": [[50, 50, 50, 50]],
        "continual_multitask": [[20, 0, 0, 0], [10, 30, 0, 0], [10, 10, 40, 0], [10, 10, 10, 50]],
        "continual_multitask_mlm": [
            [20, 0, 0, 0],
            [10, 30, 0, 0],
            [10, 10, 40, 0],
            [10, 10, 10, 50],
        ],
    }
    for name, table in thousands.items():
        preset = Preset.model_validate({"name": name, "budget": 50_000, "tasks": FOUR})
        assert budgets(preset) == [[1000 * budget for budget in row] for row in table]


def test_a_stage_is_named_after_the_task_that_it_adds() -> None:
    assert [
        stage.name for stage in Preset.model_validate({"budget": 5, "tasks": FOUR}).stages()
    ] == list(FOUR)
    assert [
        stage.name
        for stage in Preset.model_validate(
            {"name": "multitask", "budget": 5, "tasks": FOUR}
        ).stages()
    ] == ["all"]


def test_a_task_may_have_a_budget_and_a_review_of_its_own() -> None:
    tasks = {"words": {"budget": 100, "review": 0.1}, "capitals": {}, "order": {"budget": 7}}
    preset = Preset.model_validate({"budget": 40, "review": 0.25, "tasks": tasks})
    assert budgets(preset) == [[80, 0, 0], [10, 30, 0], [10, 10, 7]]


def test_budgets_in_tokens_become_iterations() -> None:
    preset = Preset.model_validate(
        {"name": "continual_multitask", "budget": 5_000_000, "tasks": FOUR}
    )
    stages = preset.stages(tokens_per_iteration=1000)
    assert StageTable(stages).totals == dict.fromkeys(FOUR, 5000)
    # 2,500 tokens are two iterations and a half.
    (stage,) = Preset.model_validate(
        {"name": "multitask", "budget": 2500, "tasks": {"a": {}, "b": {}}}
    ).stages(1000)
    assert sorted(stage.budgets.values()) == [2, 3]


@st.composite
def presets(draw: st.DrawFn) -> Preset:
    count = draw(st.integers(1, 30))
    name = draw(
        st.sampled_from(
            ["continual", "multitask", "continual_multitask", "continual_multitask_mlm"]
        )
    )
    tasks = {}
    for number in range(count):
        own: dict[str, object] = {"budget": draw(st.integers(1, 3000))}
        if name.startswith("continual_multitask") and draw(st.booleans()):
            later = max(1, count - 1 - number)
            own["review"] = draw(st.integers(0, 999)) / (1000 * later + 1)
        tasks[f"task_{number}"] = own
    return Preset.model_validate({"name": name, "tasks": tasks})


@settings(max_examples=300, deadline=None)
@given(presets(), st.integers(0, 2**32))
def test_every_task_has_its_total_and_no_stage_is_empty(preset: Preset, seed: int) -> None:
    table = StageTable(preset.stages())
    assert table.totals == {name: task.budget for name, task in preset.tasks.items()}
    assert table.tasks == tuple(preset.tasks)
    assert all(budget > 0 for stage in table.stages for budget in stage.budgets.values())
    if len(table.stages) > 1:
        # Each stage adds the task that it is named after, none earlier and none later.
        assert [stage.name for stage in table.stages] == list(preset.tasks)
        assert all(list(stage.budgets)[-1] == stage.name for stage in table.stages)
    # The shares of a stage's steps add up to its budgets, whoever asks and in whatever order.
    plan, stage = Plan(table, "mixed", seed), table.stages[-1]
    first, last = (
        Plan(table, "mixed", seed)(step) for step in (table.steps - stage.steps, table.steps - 1)
    )
    assert plan(table.steps - 1) == first == last
    granted = [share * stage.steps for share in last]
    assert granted == pytest.approx([stage.budgets.get(task, 0) for task in table.tasks])


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 6).flatmap(
        lambda width: st.lists(
            st.lists(ENTRIES, min_size=width, max_size=width), min_size=1, max_size=6
        )
    )
)
def test_rounding_moves_entries_and_sums_to_a_neighbour(table: list[list[Fraction]]) -> None:
    rounded = round_table(table)
    pairs = [
        (a, b) for rows in zip(rounded, table, strict=True) for a, b in zip(*rows, strict=True)
    ]
    pairs += [(sum(a), sum(b)) for a, b in zip(rounded, table, strict=True)]
    pairs += [
        (sum(a), sum(b))
        for a, b in zip(zip(*rounded, strict=True), zip(*table, strict=True), strict=True)
    ]
    pairs += [(sum(map(sum, rounded)), sum(map(sum, table)))]
    assert all(floor(exact) <= whole <= ceil(exact) for whole, exact in pairs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0, "tasks": FOUR}, "budget of 'words' is 0; it must be at least 1"),
        ({"budget": 9, "tasks": {"words": {"budget": -2}}}, "budget of 'words' is -2"),
        ({"budget": 1.5, "tasks": FOUR}, "budget"),
        ({"tasks": {"words": {}}}, r"task 'words' has no budget: .*tasks\.words\.budget"),
        ({"budget": 9, "tasks": {}}, "at least 1"),
        (
            {"budget": 9, "review": 0.34, "tasks": FOUR},
            "review 0.34 of task 'words' in 3 later stages leaves nothing .* below 1/3",
        ),
        ({"budget": 9, "tasks": {"a": {"review": 1.0}, "b": {}}}, "less than 1"),
        ({"budget": 9, "review": -0.1, "tasks": FOUR}, "greater than or equal to 0"),
        (
            {"name": "multitask", "budget": 9, "review": 0.1, "tasks": FOUR},
            "'multitask' reviews no task: review 0.1",
        ),
        (
            {"name": "continual", "budget": 9, "tasks": {"a": {"review": 0.1}}},
            r"tasks\.a\.review 0\.1 says nothing",
        ),
        ({"name": "staged", "budget": 9, "tasks": FOUR}, "continual_multitask_mlm"),
    ],
)
def test_what_makes_no_table_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Preset.model_validate(settings)


def stage_of(steps: int, **mixing: object) -> dict[str, int]:
    return Stage.model_validate({"name": "mix", "steps": steps, "mixing": mixing}).budgets


def test_a_mixing_rule_writes_the_budgets_of_a_stage() -> None:
    examples = {"large": 9000, "middle": 900, "small": 100}
    assert stage_of(1003, examples=examples) == {"large": 901, "middle": 91, "small": 11}
    # min(examples, 900): 900, 900 and 100.
    assert stage_of(1903, examples=examples, cap=900) == {"large": 901, "middle": 901, "small": 101}
    # Square roots 90, 30 and 10.
    assert stage_of(133, examples={"large": 8100, "middle": 900, "small": 100}, temperature=2) == {
        "large": 91,
        "middle": 31,
        "small": 11,
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"steps": 2, "mixing": {"examples": {"a": 1, "b": 1, "c": 1}}},
            "2 steps are too few for 3 tasks",
        ),
        ({"mixing": {"examples": {"a": 1}}}, "steps is None"),
        (
            {"steps": 5, "mixing": {"examples": {"a": 0}}},
            r"mixing\.examples: task 'a' has 0 examples",
        ),
        (
            {"steps": 5, "mixing": {"examples": {"a": 1}, "temprature": 2}},
            r"mixing\.temprature: Extra inputs",
        ),
        (
            {"budgets": {"a": 5}, "mixing": {"examples": {"a": 1}}},
            "budgets or a mixing rule, not both",
        ),
    ],
)
def test_a_mixing_rule_that_says_nothing_is_refused(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Stage.model_validate({"name": "mix"} | fields)
