"""Workers find those of their own round, whatever an earlier one has left in the store."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]

from ernie_cmtl.errors import LostWorkerError, UserError
from ernie_cmtl.training.process_group import _follow, _lead, join_group, lost_workers


def names(store: HashStore, count: int) -> list[str]:
    with ThreadPoolExecutor(count) as pool:
        followers = [pool.submit(_follow, store, rank) for rank in range(1, count)]
        leader = pool.submit(_lead, store, count)
        return [future.result(20) for future in (leader, *followers)]


def test_every_round_agrees_on_a_name_of_its_own() -> None:
    store = HashStore()
    rounds = [names(store, 4) for _ in range(3)]
    assert all(len(set(found)) == 1 for found in rounds)
    assert len({found[0] for found in rounds}) == 3


def test_a_worker_that_does_not_come_is_named_though_an_earlier_one_has_been_there() -> None:
    store = HashStore()
    names(store, 2)
    with pytest.raises(LostWorkerError, match=r"worker 1 did not come within 0\.2 seconds"):
        _lead(store, 2, 0.2)


def test_workers_that_are_left_name_the_others() -> None:
    store = HashStore()
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda rank: lost_workers(store, rank, 4), (0, 1, 3)))
    assert found == [[2], [2], [2]]


@pytest.mark.parametrize("count", ["WORLD_SIZE", "PMI_SIZE"])
def test_one_of_several_workers_of_accelerate_does_not_train_alone(
    monkeypatch: pytest.MonkeyPatch, count: str
) -> None:
    # What `accelerate launch --num_processes 2` sets where it finds no GPUs.
    for name, value in {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"started 1 alone.*--multi_gpu"):
        join_group(1)
    monkeypatch.setenv(count, "1")
    assert join_group(1) is None
