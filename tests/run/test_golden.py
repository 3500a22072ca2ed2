"""Losses of each preset are those that were recorded: a change that moves them does not go
unseen.
"""

import json

import pytest

from ernie_cmtl.corpus.store.corpus import Corpus
from tests.run.golden import RECORDED, RUNS, environment, losses

Pair = tuple[list[float], list[float]]
GOLDEN = json.loads(RECORDED.read_text("utf-8"))


@pytest.fixture(scope="module", params=RUNS)
def pair(
    request: pytest.FixtureRequest, english: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[float], list[float]]:
    """(recorded, found) losses of a preset."""
    return GOLDEN["losses"][request.param], list(
        losses(request.param, english, tmp_path_factory.mktemp("golden"))
    )


def test_losses_are_those_recorded_on_any_machine(pair: Pair) -> None:
    recorded, found = pair
    assert len(found) == 100
    assert found == pytest.approx(recorded, rel=1e-4)


def test_losses_are_bit_equal_on_the_machine_and_versions_they_were_recorded_on(pair: Pair) -> None:
    here = environment()
    other = {
        key: (value, here[key])
        for key, value in GOLDEN["environment"].items()
        if here[key] != value
    }
    if other:
        pytest.skip(
            "recorded, here: "
            + "; ".join(f"{key} {before}, {now}" for key, (before, now) in other.items())
        )
    recorded, found = pair
    assert found == recorded
