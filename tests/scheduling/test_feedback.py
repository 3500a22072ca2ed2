"""Feedback: what moves, how far, and what stays."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.scheduling.feedback import FeedbackConfig, Measurement, decide, next_decision
from ernie_cmtl.scheduling.plan import Plan, Revision
from ernie_cmtl.scheduling.stages import Stage, StageTable

TABLE = StageTable(
    [Stage(name="one", budgets={"a": 40}), Stage(name="two", budgets={"a": 30, "b": 60, "c": 10})]
)
POLICIES = ("forgetting", "bandit")


def measured(step: int, **losses: float) -> Measurement:
    return Measurement(step, {task: {"head": loss} for task, loss in losses.items()})


def history(last: Measurement) -> list[Measurement]:
    return [measured(0, a=4.0, b=2.0, c=1.0), measured(40, a=2.0, b=2.0, c=1.0), last]


def test_decisions_fall_inside_stages_of_several_tasks() -> None:
    due = [step for step in range(TABLE.steps) if next_decision(step - 1, TABLE, 30) == step]
    assert due == [70, 100, 130]
    assert next_decision(0, TABLE, 30) == 70
    assert next_decision(130, TABLE, 30) is None
    assert next_decision(0, TABLE, 100) is None


def test_forgetting_and_progress_by_hand() -> None:
    # a: first 4, best 2, now 3: half of what it learned is lost. b: fell from 2 to 1, all of it
    # since the last time. c: nothing.
    decision = decide(
        FeedbackConfig(every=30, floor=0.1, cap=10),
        Plan(TABLE, "mixed", 1),
        70,
        history(measured(70, a=3.0, b=1.0, c=1.0)),
    )
    assert decision.factors == {"a": 1.5, "b": 2.0, "c": 1.0}
    # 70 steps in the ratio of 0.3 x 1.5, 0.6 x 2 and 0.1 x 1.
    exact = {"a": 70 * 0.45 / 1.75, "b": 70 * 1.2 / 1.75, "c": 70 * 0.1 / 1.75}
    assert all(abs(decision.revision.budgets[task] - exact[task]) < 1 for task in exact)
    assert decision.left == pytest.approx({"a": 21, "b": 42, "c": 7})


def test_noise_around_what_was_never_learned_is_no_forgetting() -> None:
    last = measured(70, a=2.0, b=2.002, c=1.0)
    factors = decide(FeedbackConfig(every=30), Plan(TABLE, "mixed", 1), 70, history(last)).factors
    assert factors["b"] == pytest.approx(1 + 0.002 / (0.05 * 2.0))


def test_several_heads_count_alike() -> None:
    def two(step: int, head: float, masked: float) -> Measurement:
        return Measurement(
            step, {"a": {"x": head, "masked_token": masked}, "b": {"x": 1.0}, "c": {}}
        )

    found = decide(
        FeedbackConfig(every=30),
        Plan(TABLE, "mixed", 1),
        70,
        [two(0, 2.0, 8.0), two(40, 1.0, 4.0), two(70, 1.5, 4.0)],
    )
    assert found.factors == {"a": 1.25, "b": 1.0, "c": 1.0}


def test_the_bandit_by_hand() -> None:
    start = measured(40, a=2.0, b=2.0, c=1.0)
    later = [measured(40 + 3 * turn, a=1.0, b=2.0, c=3.0) for turn in range(1, 11)]
    kept = 1 - 0.9**10
    rewards = {"a": kept * 2 / 3, "b": kept * 1.0, "c": kept * 6 / 4}
    explored, sharpness = math.sqrt(math.log(3) / 30), math.sqrt(math.log(3) / 27)
    weights = {task: math.exp(sharpness * reward) for task, reward in rewards.items()}
    expected = {
        task: 3 * ((1 - 3 * explored) * weight / sum(weights.values()) + explored)
        for task, weight in weights.items()
    }
    found = decide(
        FeedbackConfig(every=3, policy="bandit"), Plan(TABLE, "mixed", 1), 70, [start, *later]
    ).factors
    assert found == pytest.approx(expected)


def test_the_bandit_comes_to_prefer_what_stays_hard() -> None:
    start = measured(40, a=2.0, b=2.0, c=1.0)
    later = [measured(40 + 3 * turn, a=1.0, b=2.0, c=1.5) for turn in range(1, 20)]
    factors = decide(
        FeedbackConfig(every=3, policy="bandit"), Plan(TABLE, "mixed", 1), 97, [start, *later]
    ).factors
    assert factors["c"] > factors["b"] > factors["a"]
    assert sum(factors.values()) == pytest.approx(3)


LOSSES = st.fixed_dictionaries(dict.fromkeys("abc", st.floats(1e-3, 20)))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(POLICIES),
    st.sampled_from(["mixed", "one_task"]),
    st.floats(0.05, 1),
    st.floats(1, 5),
    st.lists(LOSSES, min_size=2, max_size=8),
    st.integers(0, 1000),
)
def test_the_total_stays_and_every_part_is_between_floor_and_cap(
    policy, mode, floor, cap, losses, seed
):
    config = FeedbackConfig(every=12, policy=policy, floor=floor, cap=cap)
    past = [
        measured(step, **row)
        for step, row in zip((0, 40, 52, 64, 76, 88, 100, 112), losses, strict=False)
    ]
    revisions: list[Revision] = []
    for step in [measurement.step for measurement in past if measurement.step > 40]:
        plan = Plan(TABLE, mode, seed, revisions)
        decision = decide(config, plan, step, [m for m in past if m.step <= step])
        assert sum(decision.left.values()) == pytest.approx(140 - step)
        budgets = decision.revision.budgets
        assert sum(budgets.values()) == 140 - step
        for task, planned in {"a": 0.3, "b": 0.6, "c": 0.1}.items():
            part = budgets.get(task, 0)
            assert floor * planned * (140 - step) - 1 < part < cap * planned * (140 - step) + 1
        revisions.append(decision.revision)
    served = [Plan(TABLE, mode, seed, revisions)(step) for step in range(140)]
    assert served[:40] == [(1.0, 0.0, 0.0)] * 40
    if mode == "one_task" and revisions:
        last = revisions[-1]
        drawn = [sum(row[place] for row in served[last.step :]) for place in range(3)]
        assert drawn == [last.budgets.get(task, 0) for task in "abc"]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_task_that_got_worse_receives_more(policy: str) -> None:
    table = StageTable([Stage(name="long", budgets={"a": 3000, "b": 6000, "c": 1000})])
    config, plan = (
        FeedbackConfig.model_validate({"every": 10, "policy": policy}),
        Plan(table, "mixed", 1),
    )
    calm = [measured(10 * turn, a=2.0, b=1.5, c=0.9) for turn in range(30)]
    for task in "abc":
        worse = measured(290, **({"a": 2.0, "b": 1.5, "c": 0.9} | {task: 6.0}))
        before, after = (
            decide(config, plan, 290, [*calm[:-1], last]).revision.budgets
            for last in (calm[-1], worse)
        )
        assert after[task] > before[task]


def test_what_is_left_of_a_drawn_stage_is_what_was_not_drawn_yet() -> None:
    plan = Plan(TABLE, "one_task", 5, [Revision(70, {"a": 10, "b": 50, "c": 10})])
    for step in (40, 55, 70, 71, 99, 139):
        end = 70 if step < 70 else 140
        ahead = [plan(s) for s in range(step, end)]
        left = [sum(row[place] for row in ahead) for place in range(3)]
        if step >= 70:
            assert list(plan.left(step).values()) == left
        else:
            # The stage's own order goes on to its end; the revision then shares out anew.
            unrevised = Plan(TABLE, "one_task", 5)
            assert plan.left(step) == unrevised.left(step)
            assert sum(plan.left(step).values()) == 140 - step
