"""The log of a run stays one line of history, however often the run is broken off."""

import json
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.errors import UserError
from ernie_cmtl.training.metrics import MetricsLog, damaged_lines, read_metrics
from tests.support.checkpoints import files_at_most


def lines(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def no_tracker(values: dict[str, float], step: int) -> None:
    pass


def write(folder: Path, steps: range, resumed_at: int, source: str = "first") -> None:
    with MetricsLog(folder / "metrics.jsonl", no_tracker, resumed_at) as log:
        for step in steps:
            log.write("train", step, {"loss": float(step), "source": source})


def test_a_line_says_its_kind_step_time_and_values(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl", no_tracker, 0) as log:
        log.write(
            "heldout", 7, {"stage": "first", "tasks": {"a/x": {"loss": 1.5, "accuracy": None}}}
        )
        (line,) = lines(tmp_path)
    assert line.pop("time") > 1.7e9
    assert line == {
        "kind": "heldout",
        "step": 7,
        "stage": "first",
        "tasks": {"a/x": {"loss": 1.5, "accuracy": None}},
    }


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl", no_tracker, 0) as log:
        log.write("train", 1, {"loss": 2.0})
        assert [line["step"] for line in lines(tmp_path)] == [1]


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, range(1, 10), resumed_at=0)
    write(tmp_path, range(6, 8), resumed_at=5, source="second")
    assert [(line["step"], line["source"]) for line in lines(tmp_path)] == [
        *((step, "first") for step in (1, 2, 3, 4, 5)),
        *((step, "second") for step in (6, 7)),
    ]


def test_resuming_drops_a_half_written_last_line(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4), resumed_at=0)
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"kind": "train", "step": 4, "lo')
    write(tmp_path, range(5, 6), resumed_at=4)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 5]


def test_a_last_line_that_lacks_only_its_end_does_not_run_into_the_next_one(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4), resumed_at=0)
    text = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    (tmp_path / "metrics.jsonl").write_text(text.removesuffix("\n"), encoding="utf-8")
    write(tmp_path, range(3, 5), resumed_at=2, source="second")
    assert [(line["step"], line["source"]) for line in lines(tmp_path)] == [
        (1, "first"),
        (2, "first"),
        (3, "second"),
        (4, "second"),
    ]


def test_a_run_without_a_checkpoint_begins_its_log_anew(tmp_path: Path) -> None:
    write(tmp_path, range(4), resumed_at=0)
    write(tmp_path, range(2), resumed_at=0, source="second")
    assert [(line["step"], line["source"]) for line in lines(tmp_path)] == [
        (0, "second"),
        (1, "second"),
    ]


def test_the_lines_of_a_kind_are_read_back_without_a_half_written_one(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl", "heldout") == []
    with MetricsLog(tmp_path / "metrics.jsonl", no_tracker, 0) as log:
        log.write("heldout", 0, {"tasks": {}})
        log.write("train", 1, {"loss": 1.0})
        log.write("heldout", 5, {"tasks": {"a/x": {"loss": 0.5}}})
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"kind": "heldout", "step": 9, "ta')
    found = [
        (line["step"], line["tasks"])
        for line in read_metrics(tmp_path / "metrics.jsonl", "heldout")
    ]
    assert found == [(0, {}), (5, {"a/x": {"loss": 0.5}})]


def test_names_in_any_script_stay_one_line_each(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl", no_tracker, 0) as log:
        log.write("train", 1, {"stage": "阶段\u2028one\x85two"})
    with MetricsLog(tmp_path / "metrics.jsonl", no_tracker, 1) as log:
        log.write("train", 2, {"stage": "next"})
    assert [line["stage"] for line in lines(tmp_path)] == ["阶段\u2028one\x85two", "next"]


def test_trackers_get_the_nested_numbers_under_joined_names(tmp_path: Path) -> None:
    values = {
        "loss": 0.5,
        "stage": "words",
        "tasks": {
            "a": {"loss": 2.0, "accuracy": None, "labels": 3, "done": True},
            "b": {"loss": 4.0},
        },
    }
    tracked = []
    with MetricsLog(
        tmp_path / "metrics.jsonl", lambda numbers, step: tracked.append((numbers, step)), 0
    ) as log:
        log.write("train", 3, values)
    numbers = {
        "train/total_loss_of_stage/words": 0.5,
        "train/tasks/a/loss": 2.0,
        "train/tasks/a/labels": 3.0,
        "train/tasks/b/loss": 4.0,
    }
    assert tracked == [(numbers, 3)]


def test_a_full_disk_keeps_lines_back_says_so_once_and_loses_none(tmp_path: Path) -> None:
    write(tmp_path, range(2), resumed_at=0)
    begun = (tmp_path / "metrics.jsonl").stat().st_size
    # The disk ends before, within and after a line.
    for room in (0, 1, 40, 100):
        said: list[str] = []
        with MetricsLog(tmp_path / "metrics.jsonl", no_tracker, 1, said.append) as log:
            with files_at_most(begun + room):
                for step in (2, 3, 4):
                    log.write("train", step, {"loss": 0.5})
                read = [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl", "train")]
                assert read == [0, 1, 2][: len(read)]
            (problem,) = said
            assert str(tmp_path / "metrics.jsonl") in problem
            assert "MB are free" in problem
            log.write("train", 5, {"loss": 0.5})
            log.finish()
        assert [line["step"] for line in lines(tmp_path)] == [0, 1, 2, 3, 4, 5]
        assert len(said) == 2
        write(tmp_path, range(2), resumed_at=0)


def test_what_the_disk_never_took_is_an_error_at_the_end(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl", no_tracker, 0, [].append) as log, files_at_most(0):
        log.write("train", 1, {"loss": 0.5})
        with pytest.raises(UserError, match=r"missing in .*metrics\.jsonl"):
            log.finish()


def test_what_is_read_off_the_log_waits_for_it(tmp_path: Path) -> None:
    table = tmp_path / "table"
    with MetricsLog(tmp_path / "metrics.jsonl", no_tracker, 0, [].append) as log:
        with files_at_most(30):
            log.write("train", 1, {"loss": 0.5})
            log.attempt(table, lambda: table.write_text(str(len(lines(tmp_path)))) and None)
            assert not table.exists()
        log.finish()
        assert table.read_text() == "1"


def test_a_tracker_that_fails_keeps_no_line_back(tmp_path: Path) -> None:
    def broken(values: dict[str, float], step: int) -> None:
        raise UserError("tracker x failed: no route")

    said: list[str] = []
    with MetricsLog(tmp_path / "metrics.jsonl", broken, 0, said.append) as log:
        log.write("train", 1, {"loss": 0.5})
        log.finish()
    assert [line["step"] for line in lines(tmp_path)] == [1]
    (problem,) = said
    assert problem.startswith("tracker x failed: no route; the run goes on without it")


DAMAGES = {
    "a page of NULs": b"\0" * 4096,
    "an empty line": b"",
    "bytes that are not UTF-8": b'{"kind": "train", "step": 1, "source": "\xff\xfe", "loss": 1.0}',
    "a torn line": b'{"kind": "train", "step": 1, "lo',
    "no object": b"[1, 2]",
    "a step that is none": b'{"kind": "train", "step": "1", "loss": 1.0}',
    "no kind": b'{"step": 1, "loss": 1.0}',
    "no scores": b'{"kind": "heldout", "step": 1, "tarks": {}}',
    "brackets without end": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_line_is_moved_aside_and_counted_once(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    write(tmp_path, range(1, 5), resumed_at=0)
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + damage + b"\n" + b"".join(rest))
    assert [line["step"] for line in read_metrics(path, "train")] == [1, 2, 3, 4]
    said: list[str] = []
    for resumed_at in (3, 3):
        with MetricsLog(path, no_tracker, resumed_at, said.append):
            assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    assert damaged_lines(path).read_bytes() == damage + b"\n"
    (message,) = said
    assert message.startswith(f"damaged lines of {path}: 1;")
    assert str(damaged_lines(path)) in message
