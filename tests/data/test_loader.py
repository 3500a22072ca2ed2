"""Steps for one worker of several."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.loader import fixed_batches, load_steps
from ernie_cmtl.data.step_shape import DataConfig
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Batch, Ledger, StepData
from ernie_cmtl.run.run import Run
from tests.support.runs import tiny_settings

STEPS = 12


def make_run(corpus: Corpus, folder: Path, mode: str = "mixed") -> Run:
    # Short samples, so that a row holds several.
    tasks = {
        name: {"maximum_length": 28}
        for name in ("knowledge_masking", "capitalization", "sentence_reordering")
    }
    return Run(
        RunConfig.model_validate(tiny_settings(corpus, folder) | {"mode": mode, "tasks": tasks})
    )


@pytest.fixture
def run(english: Corpus, tmp_path: Path) -> Run:
    return make_run(english, tmp_path / "run")


def with_data(run: Run, **data: int) -> Run:
    config = run.config
    return Run(config.model_copy(update={"data": config.data.model_copy(update=data)}))


def steps_of(
    run: Run, rank: int = 0, workers: int = 1, ledger: Ledger | None = None
) -> list[StepData]:
    return list(run.steps_from(ledger or run.first_ledger(), run.table.steps, rank, workers))


def assert_equal_batches(first: Batch, second: Batch) -> None:
    for name in (
        "token_ids",
        "token_type_ids",
        "task_type_ids",
        "position_ids",
        "sequence_starts",
        "sequence_lengths",
    ):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    assert list(first.targets) == list(second.targets)
    for name, targets in first.targets.items():
        other = second.targets[name]
        np.testing.assert_array_equal(targets.positions, other.positions, err_msg=name)
        np.testing.assert_array_equal(targets.labels, other.labels, err_msg=name)
        np.testing.assert_array_equal(targets.tasks, other.tasks, err_msg=name)


def assert_equal_steps(first: Sequence[StepData], second: Sequence[StepData]) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        for name in ("step", "shares", "ledger", "real_tokens", "slots"):
            assert getattr(one, name) == getattr(other, name)
        for batch, again in zip(one.groups, other.groups, strict=True):
            assert_equal_batches(batch, again)


def sequences_of(batch: Batch) -> list[tuple[int, bytes]]:
    """(embedding row, tokens) of each sequence."""
    tokens, tasks = batch.token_ids.ravel(), batch.task_type_ids.ravel()
    found = []
    for start, length in zip(
        batch.sequence_starts.tolist(), batch.sequence_lengths.tolist(), strict=True
    ):
        assert set(tasks[start : start + length].tolist()) == {tasks[start]}
        found.append((int(tasks[start]), tokens[start : start + length].tobytes()))
    return found


def test_a_step_holds_the_samples_between_its_ledgers(run):
    fresh = run.streams("train")
    before = run.first_ledger()
    for data in steps_of(run):
        expected: Counter[tuple[int, bytes]] = Counter()
        for stream, first, last in zip(fresh, before.samples, data.ledger.samples, strict=True):
            examples = [stream.example(number) for number in range(first, last)]
            expected.update(
                (stream.instance.row, example.token_ids.tobytes())
                for example in examples
                if example
            )
        found = Counter(sequence for group in data.groups for sequence in sequences_of(group))
        assert found == expected
        assert found.total() >= 12
        before = data.ledger


def test_shares_of_a_step_are_those_that_its_samples_have(run):
    streams = run.streams("train")
    before = run.first_ledger()
    for data in steps_of(run):
        tokens = [
            sum(stream.slot(number) for number in range(first, last))
            for stream, first, last in zip(
                streams, before.samples, data.ledger.samples, strict=True
            )
        ]
        assert list(data.shares) == pytest.approx([taken / sum(tokens) for taken in tokens])
        before = data.ledger
    assert [data.step for data in steps_of(run)] == list(range(STEPS))


def test_workers_share_the_groups_of_one_step(run):
    whole = steps_of(run)
    assert all(len(data.groups) == 4 for data in whole)
    for workers in (2, 4):
        parts = [steps_of(run, rank, workers) for rank in range(workers)]
        for step, data in enumerate(whole):
            own = [part[step] for part in parts]
            assert all(
                (one.step, one.shares, one.ledger) == (data.step, data.shares, data.ledger)
                for one in own
            )
            for group, batch in enumerate(data.groups):
                assert_equal_batches(batch, own[group % workers].groups[group // workers])
            assert [len(one.groups) for one in own] == [4 // workers] * workers
            assert sum(one.real_tokens for one in own) == data.real_tokens
            assert sum(one.slots for one in own) == data.slots == 8 * 64


def joined_rows(data: StepData) -> dict[str, list[object]]:
    """Everything in a step, counted over all its rows."""
    rows: dict[str, list[object]] = {}
    offset = 0
    for batch in data.groups:
        for name in ("token_ids", "token_type_ids", "task_type_ids", "position_ids"):
            rows.setdefault(name, []).extend(getattr(batch, name).tolist())
        rows.setdefault("starts", []).extend((batch.sequence_starts + offset).tolist())
        rows.setdefault("lengths", []).extend(batch.sequence_lengths.tolist())
        for name, targets in batch.targets.items():
            real = targets.tasks >= 0
            values = ((targets.positions + offset)[real], targets.labels[real], targets.tasks[real])
            rows.setdefault(name, []).extend(
                zip(*(value.tolist() for value in values), strict=True)
            )
        offset += batch.token_ids.size
    return rows


@pytest.mark.parametrize("rows_per_group", [1, 4, 8])
def test_size_of_a_group_changes_nothing_in_the_rows(run, rows_per_group):
    regrouped = steps_of(with_data(run, rows_per_group=rows_per_group))
    for data, other in zip(steps_of(run), regrouped, strict=True):
        assert len(other.groups) == 8 // rows_per_group
        assert joined_rows(data) == joined_rows(other)
        assert data.ledger == other.ledger


def test_loader_processes_give_the_same_steps_in_order(run):
    expected = steps_of(run)
    for workers in (0, 2):
        source = with_data(run, loader_workers=workers).steps_from(run.first_ledger(), STEPS, 0, 1)
        assert_equal_steps(list(load_steps(source)), expected)


@pytest.mark.parametrize("mode", ["mixed", "one_task"])
def test_resuming_from_the_ledger_of_any_step_gives_the_steps_that_follow(english, tmp_path, mode):
    config = make_run(english, tmp_path / "run", mode).config
    unbroken = steps_of(Run(config))
    second_of_two = steps_of(Run(config), 1, 2)
    for done in (1, 5, 8, STEPS - 1):
        ledger = unbroken[done - 1].ledger
        assert ledger.step == done
        assert_equal_steps(steps_of(Run(config), ledger=ledger), unbroken[done:])
        # A run that goes on with another number of workers.
        assert_equal_steps(steps_of(Run(config), 1, 2, ledger), second_of_two[done:])
    assert steps_of(Run(config), ledger=unbroken[-1].ledger) == []


def test_resuming_through_loader_processes_keeps_the_order(run):
    unbroken = steps_of(run)
    source = with_data(run, loader_workers=2).steps_from(unbroken[6].ledger, STEPS, 0, 1)
    assert_equal_steps(list(load_steps(source)), unbroken[7:])


def make_growing_run(corpus: Corpus, folder: Path, mode: str = "mixed") -> Run:
    """Rows of 32, then of 64, then of 32 again; one task has samples that are short enough for all
    of them.
    """
    settings = tiny_settings(corpus, folder) | {
        "mode": mode,
        "tasks": {"capitalization": {"maximum_length": 24}},
    }
    budgets = {"knowledge_masking": 2, "capitalization": 2}
    settings["stages"] = [
        {"name": "short", "budgets": budgets, "row_length": 32, "rows": 16, "rows_per_group": 4},
        {"name": "long", "budgets": budgets | {"sentence_reordering": 2}},
        {"name": "again", "budgets": budgets, "row_length": 32, "rows": 16},
    ]
    return Run(RunConfig.model_validate(settings))


@pytest.fixture
def growing(english: Corpus, tmp_path: Path) -> Run:
    return make_growing_run(english, tmp_path / "run")


def test_rows_have_the_shape_of_their_stage(growing):
    steps = steps_of(growing)
    shapes = [[batch.token_ids.shape for batch in data.groups] for data in steps]
    assert shapes == [[(4, 32)] * 4] * 4 + [[(2, 64)] * 4] * 6 + [[(2, 32)] * 8] * 4
    assert [data.slots for data in steps] == [512] * 14
    lengths = [max(int(batch.sequence_lengths.max()) for batch in data.groups) for data in steps]
    assert max(lengths[:4] + lengths[10:]) <= 32 < min(lengths[4:10])


def test_a_task_counts_its_samples_for_each_length_that_they_are_cut_to(growing):
    counts = growing.first_ledger().samples
    # Masking and reordering at 32 and 64, capitals at 24 in all stages.
    assert counts == (0,) * 5
    steps = steps_of(growing)
    ends = [steps[place].ledger.samples for place in (3, 9, 13)]
    (masking, capitals, short, long, _), second, third = ends
    assert min(masking, capitals) > 0 == short == long
    assert second[0] == masking < third[0]
    assert capitals < second[1] < third[1]
    assert second[3] == third[3] > 0
    assert second[4] == third[4] > 0
    names = ("knowledge_masking", "capitalization", "sentence_reordering")
    assert growing.stage_streams.samples_by_task(steps[-1].ledger) == dict(
        zip(names, (third[0] + third[3], third[1], third[4]), strict=True)
    )


def test_a_stage_goes_on_with_the_samples_after_those_that_an_earlier_stage_of_its_length_took(
    growing,
):
    steps = steps_of(growing)
    stage = growing.steps_from(growing.first_ledger(), 1, 0, 1).stages[0]
    for task in (0, 1):
        stream = stage.streams[task]
        first, last = steps[9].ledger.samples[task], steps[13].ledger.samples[task]
        examples = [stream.example(number) for number in range(first, last)]
        expected = Counter((task, example.token_ids.tobytes()) for example in examples if example)
        found = Counter(
            row
            for data in steps[10:]
            for batch in data.groups
            for row in sequences_of(batch)
            if row[0] == task
        )
        assert found == expected


def test_a_change_of_row_length_leaves_shares_and_tokens_as_planned(growing):
    for data in steps_of(growing):
        for tokens, planned in zip(data.ledger.tokens, data.ledger.planned, strict=True):
            assert abs(tokens - planned) < 64
    first, last = steps_of(growing)[3].ledger, steps_of(growing)[9].ledger
    middle = [after - before for after, before in zip(last.tokens, first.tokens, strict=True)]
    assert all(abs(tokens - sum(middle) / 3) < 2 * 64 for tokens in middle)


@pytest.mark.parametrize("mode", ["mixed", "one_task"])
def test_a_run_of_two_row_lengths_goes_on_anywhere_with_any_workers(english, tmp_path, mode):
    config = make_growing_run(english, tmp_path / "run", mode).config
    unbroken = steps_of(Run(config))
    second_of_two = steps_of(Run(config), 1, 2)
    loaders = config.model_copy(
        update={"data": config.data.model_copy(update={"loader_workers": 2})}
    )
    for done in (0, 3, 4, 7, 10, 13):
        run = Run(config)
        ledger = unbroken[done - 1].ledger if done else run.first_ledger()
        assert_equal_steps(steps_of(run, ledger=ledger), unbroken[done:])
        assert_equal_steps(steps_of(Run(config), 1, 2, ledger), second_of_two[done:])
        if done in (0, 7):
            assert_equal_steps(
                list(load_steps(Run(loaders).steps_from(ledger, 14, 0, 1))), unbroken[done:]
            )


def test_only_the_samples_that_the_coming_stages_need_are_opened(growing):
    steps = steps_of(growing)
    stages = growing.steps_from(steps[9].ledger, 14, 0, 1).stages
    assert {number: set(stage.streams) for number, stage in stages.items()} == {2: {0, 1}}
    stages = growing.steps_from(steps[5].ledger, 14, 0, 1).stages
    assert {number: set(stage.streams) for number, stage in stages.items()} == {
        1: {0, 1, 2},
        2: {0, 1},
    }
    assert stages[1].streams[1] is stages[2].streams[1]
    assert stages[1].streams[0].longest == 64


def test_group_size_that_does_not_divide_the_rows_is_refused():
    with pytest.raises(
        ValidationError,
        match=r"rows_per_group 5 does not divide rows 12; accepted: \[1, 2, 3, 4, 6, 12\]",
    ):
        DataConfig(rows=12, rows_per_group=5)
    for accepted in (1, 2, 3, 4, 6, 12):
        assert DataConfig(rows=12, rows_per_group=accepted).groups == 12 // accepted


def test_worker_count_that_cannot_share_the_groups_is_refused():
    config = DataConfig(rows=24, rows_per_group=4)
    for accepted in (1, 2, 3, 6):
        config.check_workers(accepted)
    for refused in (4, 5, 12, 24):
        with pytest.raises(
            UserError, match=rf"{refused} workers .* 6 groups .*accepted: \[1, 2, 3, 6\]"
        ):
            config.check_workers(refused)


def heldout_stream(run: Run, number: int) -> SampleStream:
    return run.streams("heldout")[number]


@pytest.mark.parametrize("samples", [1, 30, 10_000])
def test_fixed_batches_hold_each_of_the_first_samples_once(run, samples):
    pad_id = run.corpus.vocabulary.pad_id
    for number in range(len(run.instances)):
        stream = heldout_stream(run, number)
        expected = [stream.example(n) for n in range(min(samples, len(stream)))]
        for rows_per_group in (2, 8):
            config = DataConfig(row_length=64, rows=8, rows_per_group=rows_per_group)
            batches = list(fixed_batches(heldout_stream(run, number), samples, config, pad_id))
            assert [order for order, _ in batches] == list(range(len(batches)))
            found = Counter(sequence for _, batch in batches for sequence in sequences_of(batch))
            assert found == Counter(
                (stream.instance.row, example.token_ids.tobytes())
                for example in expected
                if example
            )
            for name, spec in stream.instance.heads.items():
                labels = [
                    label
                    for _, batch in batches
                    for label in batch.targets[name].labels[batch.targets[name].tasks == 0]
                ]
                assert Counter(labels) == Counter(
                    label for e in expected if e for label in e.targets[spec.name].labels
                )
