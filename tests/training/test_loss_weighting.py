"""Rules that weigh losses: what they compute, what stays, and what they refuse."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.task_instance import run_heads
from ernie_cmtl.training.loss_weighting import (
    LossWeighting,
    LossWeightingConfig,
    build_loss_weighting,
)
from ernie_cmtl.training.loss_weighting._balanced import Balanced
from tests.support.instances import HEADS, VOCABULARY, make_instances

LOSSES = [f"{task}/{head.name}" for task, heads in HEADS.items() for head in heads]
EQUAL = [0.2] * 5
WIDE = {"floor": 1e-6, "cap": 1e6}
MEASURING = ("uncertainty", "dwa")


def rule_of(rule: str, **options: Any) -> LossWeighting:
    instances = make_instances()
    config = LossWeightingConfig.model_validate({"rule": rule, **options})
    return build_loss_weighting(config, run_heads(instances), instances)


def balanced(rule: str, *losses: Mapping[str, float], **options: Any) -> Balanced:
    """Return a rule that has measured these losses, one evaluation after the other."""
    found = rule_of(rule, **options)
    assert isinstance(found, Balanced)
    for number, measured in enumerate(losses):
        found.measured(number, measured)
    return found


def weights_of(rule: Balanced, shares: Sequence[float] = EQUAL) -> dict[str, float]:
    weights = rule.weights_of(shares)
    return {name: float(weights[place]) for name, place in rule.places.items()}


def numbers(**by_task: float) -> dict[str, float]:
    """Return losses: those that are named, 1 for all heads of all other tasks."""
    return {name: by_task.get(name.partition("/")[0], 1.0) for name in LOSSES}


def test_classes_weigh_one_over_the_log_of_their_number() -> None:
    factors = balanced("classes").factors()
    vocabulary = 1 / math.log(VOCABULARY.size)
    assert factors == pytest.approx(
        {
            "masking/masked_token": vocabulary,
            "tagging/tag": 1 / math.log(3),
            "tagging/masked_token": vocabulary,
            "tagging_again/tag": 1 / math.log(3),
            "following/next": 1 / math.log(2),
            "following/distance": 1.0,
            "topics/topic": 1 / math.log(4),
            "topics/weight": 1.0,
        }
    )
    weights = weights_of(balanced("classes"))
    ratios = {weight / factors[name] for name, weight in weights.items()}
    assert max(ratios) == pytest.approx(min(ratios))
    assert sum(weights.values()) == pytest.approx(len(weights))


def test_uncertainty_weighs_one_over_the_last_loss() -> None:
    first, last = numbers(masking=8.0), numbers(masking=4.0, topics=0.5)
    weights = weights_of(balanced("uncertainty", first, last, **WIDE))
    assert weights["topics/topic"] / weights["masking/masked_token"] == pytest.approx(8)
    assert weights["following/next"] / weights["masking/masked_token"] == pytest.approx(4)
    assert sum(weights.values()) == pytest.approx(len(LOSSES))


def test_dwa_is_manual_until_a_loss_was_measured_twice_and_then_a_softmax() -> None:
    first, last = numbers(masking=8.0), numbers(masking=4.0, topics=1.5)
    manual = rule_of("manual").weights
    once = balanced("dwa", first, **WIDE)
    assert torch.equal(once.weights_of(EQUAL), manual)
    assert once.line(EQUAL) == {}
    weights = weights_of(balanced("dwa", first, last, **WIDE))
    powers = {
        name: math.exp({"masking": 0.5, "topics": 1.5}.get(name.partition("/")[0], 1.0) / 2)
        for name in LOSSES
    }
    total = sum(powers.values())
    assert weights == pytest.approx({name: len(LOSSES) * powers[name] / total for name in LOSSES})


def test_uncertainty_and_dwa_are_those_of_torchjd() -> None:
    scalarization = pytest.importorskip("torchjd.scalarization")
    torch.manual_seed(1)
    first, last = (torch.rand(len(LOSSES), dtype=torch.float64) * 5 + 0.2 for _ in range(2))
    last = torch.minimum(last, 9 * first)
    measured = [dict(zip(LOSSES, losses.tolist(), strict=True)) for losses in (first, last)]

    def weights_in(scalarizer: Any) -> torch.Tensor:
        losses = last.clone().requires_grad_()
        (found,) = torch.autograd.grad(scalarizer(losses), losses)
        return found / found.mean()

    learned = scalarization.UW(len(LOSSES)).double()
    newton = torch.optim.LBFGS(learned.parameters(), max_iter=500, tolerance_grad=1e-12)

    def closure() -> torch.Tensor:
        newton.zero_grad()
        loss = learned(last)
        loss.backward()
        return loss

    for _ in range(20):
        newton.step(closure)
    average = scalarization.DWA()
    for losses in (first, last):
        average(losses)
        average.step()
    for rule, theirs in (("uncertainty", learned), ("dwa", average)):
        ours = weights_of(balanced(rule, *measured, **WIDE))
        expected = dict(zip(LOSSES, weights_in(theirs).tolist(), strict=True))
        assert ours == pytest.approx(expected, rel=1e-5), rule


positive = st.floats(1e-4, 1e4)


@given(
    st.sampled_from(("classes", *MEASURING)),
    st.lists(st.lists(positive, min_size=len(LOSSES), max_size=len(LOSSES)), max_size=3),
    st.lists(st.one_of(st.just(0.0), st.floats(0.001, 1)), min_size=5, max_size=5).filter(any),
    st.lists(st.floats(0.1, 10), min_size=5, max_size=5),
    st.floats(0.01, 1),
    st.floats(1, 100),
)
def test_the_sum_of_share_times_weight_stays_and_weights_keep_their_bounds(
    rule: str,
    measured: list[list[float]],
    parts: list[float],
    by_hand: list[float],
    floor: float,
    cap: float,
) -> None:
    options = {} if rule == "classes" else {"floor": floor, "cap": cap}
    found = balanced(rule, *(dict(zip(LOSSES, row, strict=True)) for row in measured), **options)
    found.weights *= torch.tensor(by_hand, dtype=torch.float64)
    shares = torch.tensor(parts, dtype=torch.float64) / sum(parts)
    weights = found.weights_of(shares.tolist())
    places = tuple(torch.tensor(list(found.places.values())).T)
    sums = [(shares * matrix)[places].sum() for matrix in (weights, found.weights)]
    assert float(sums[0]) == pytest.approx(float(sums[1]), rel=1e-9)
    assert weights.isfinite().all()
    ratio = (weights / found.weights)[places]
    if options:
        assert float(ratio.min()) >= floor * (1 - 1e-12)
        assert float(ratio.max()) <= cap * (1 + 1e-12)
    # A task without a part of the step is not weighed.
    assert torch.equal(weights[:, shares == 0], found.weights[:, shares == 0])


def test_a_label_counts_by_share_weight_and_number() -> None:
    rule = balanced("uncertainty", numbers(masking=4.0), **WIDE)
    shares = [0.5, 0.2, 0.1, 0.1, 0.1]
    labels = torch.randint(0, 5, rule.weights.shape)
    expected = rule.weights_of(shares) * torch.tensor(shares).double() / labels.clamp(min=1)
    torch.testing.assert_close(rule.coefficients(labels, shares, 0), expected)


def test_far_apart_losses_are_held_at_floor_and_cap() -> None:
    weights = weights_of(balanced("uncertainty", numbers(masking=10.0, following=0.01)))
    assert weights["masking/masked_token"] == 0.5
    assert weights["following/next"] == 2.0


@pytest.mark.parametrize("rule", MEASURING)
def test_a_loss_that_was_not_measured_keeps_its_weight_by_hand(rule: str) -> None:
    measured = [
        {name: loss for name, loss in numbers(masking=value).items() if "topics" not in name}
        for value in (9.0, 2.0)
    ]
    found = balanced(rule, *measured)
    weights = weights_of(found)
    assert weights["topics/topic"] == weights["topics/weight"] == 1
    assert weights["masking/masked_token"] != 1
    assert set(found.line(EQUAL)["weights"]) == set(LOSSES)
    assert "topics/topic" not in found.line(EQUAL)["factors"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 10.1 * 3])
@pytest.mark.parametrize("rule", MEASURING)
def test_a_loss_that_is_not_finite_or_has_diverged_decides_nothing(rule: str, bad: float) -> None:
    sound = [numbers(masking=3.0), numbers(masking=2.5)]
    before, after = balanced(rule, *sound), balanced(rule, *sound, numbers(masking=bad))
    assert after.seen["masking/masked_token"] == before.seen["masking/masked_token"]
    never = balanced(rule, *[numbers(masking=bad if bad != 10.1 * 3 else math.nan)] * 2)
    assert weights_of(never)["masking/masked_token"] == 1
    assert torch.tensor(list(weights_of(after).values())).isfinite().all()


@pytest.mark.parametrize("rule", MEASURING)
def test_losses_of_nothing_or_of_very_much_give_weights_between_the_bounds(rule: str) -> None:
    tiny = numbers(masking=0.0, topics=1e-300)
    for measured in ([tiny, tiny], [numbers(masking=1e300), numbers(masking=1e-300)]):
        weights = weights_of(balanced(rule, *measured))
        assert all(0.5 <= weight <= 2.0 for weight in weights.values())


@pytest.mark.parametrize("rule", MEASURING)
def test_what_a_checkpoint_holds_gives_the_same_weights_to_the_last_bit(rule: str) -> None:
    found = balanced(rule, numbers(masking=7 / 3), numbers(masking=math.pi / 3, topics=0.7))
    again = balanced(rule)
    again.load(found.state())
    assert torch.equal(again.weights_of(EQUAL), found.weights_of(EQUAL))
    assert again.state() == found.state()
    # The last step of a run that has ended is measured again.
    again.measured(1, numbers(masking=9.0))
    assert again.state() == found.state()
    again.load({})
    assert again.state() == found.state()


@pytest.mark.parametrize(
    "state",
    [
        {"step": 3},
        {"step": 3, "seen": {"a/b": {"first": "much", "last": 1.0}}},
        {"step": 3, "seen": {"a/b": {"first": math.nan, "last": 1.0}}},
        {"step": 3, "seen": {}, "factors": {}},
    ],
)
def test_a_checkpoint_that_says_something_else_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="the loss weighting of a checkpoint is damaged"):
        balanced("dwa").load(state)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rule": "classes", "floor": 0.5}, "loss_weighting: unknown key 'floor'"),
        ({"rule": "dwa", "every": 100}, "unknown key 'every'; accepted: cap, floor"),
        ({"rule": "dwa", "floor": 0}, r"loss_weighting: floor: .* greater than 0 \(got 0\)"),
        ({"rule": "uncertainty", "floor": 1.5}, r"floor: .* less than or equal to 1 \(got 1\.5\)"),
        ({"rule": "uncertainty", "cap": 0.5}, r"cap: .* greater than or equal to 1 \(got 0\.5\)"),
        ({"rule": "uncertainty", "cap": math.inf}, "cap: .* a finite number"),
        (
            {"rule": "kendall"},
            "no loss weighting named 'kendall'; registered are classes, dwa, manual, uncertainty",
        ),
    ],
)
def test_bad_options_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        rule_of(**config)


SETTINGS: dict[str, Any] = {
    "run": "r",
    "corpus": "c",
    "stages": [{"name": "all", "budgets": {"a": 4, "b": 4}}],
    "training": {"heldout": {"every": 2}},
}


@pytest.mark.parametrize("rule", MEASURING)
def test_rules_that_measure_do_not_go_with_feedback_nor_without_evaluations(rule: str) -> None:
    settings = SETTINGS | {"loss_weighting": {"rule": rule}}
    assert RunConfig.model_validate(settings).loss_weighting.rule == rule
    with pytest.raises(
        ValueError,
        match=rf"'{rule}' and feedback would both .*; accepted beside feedback: classes, manual; "
        r"or take feedback out \(feedback=null\)",
    ):
        RunConfig.model_validate(settings | {"feedback": {"every": 2}})
    with pytest.raises(
        ValueError,
        match=rf"'{rule}' decides at each held-out evaluation, and training.heldout.every is 0; "
        "accepted: 1 or more steps, as training.heldout.every=500",
    ):
        RunConfig.model_validate(settings | {"training": {}})


def test_classes_go_with_feedback_and_without_evaluations() -> None:
    settings = SETTINGS | {"loss_weighting": {"rule": "classes"}, "feedback": {"every": 2}}
    assert RunConfig.model_validate(settings | {"training": {}}).feedback


@pytest.mark.parametrize("rule", ["classes", *MEASURING])
def test_rules_that_compare_the_tasks_of_a_step_need_several(rule: str) -> None:
    settings = SETTINGS | {"loss_weighting": {"rule": rule}, "mode": "one_task"}
    with pytest.raises(ValueError, match=rf"'{rule}' .* accepted: manual; or set mode=mixed"):
        RunConfig.model_validate(settings)


def test_manual_goes_with_everything() -> None:
    RunConfig.model_validate(
        SETTINGS | {"mode": "one_task", "feedback": {"every": 2}, "training": {}}
    )
