"""A disk that is full while a run goes on: the log waits for room, nothing of it is lost, and the
training does not stop.
"""

import errno
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.run import folder
from ernie_cmtl.training.checkpoint import checkpoints
from ernie_cmtl.training.metrics import MetricsLog
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import Watcher, logged_lines, trace, with_training


class Filling(Watcher):
    """Lets no file grow beyond what the log has after one step, until another step."""

    def __init__(self, log: Path, first: int, last: int) -> None:
        super().__init__()
        self.log, self.first, self.last = log, first, last
        self.told: list[str] = []

    def logged(self, stage: str, line: dict[str, Any]) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if line["step"] == self.first:
            # The next line fits in part.
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.log.stat().st_size + 50, hard))
        if line["step"] == self.last:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    def unwritten(self, problem: str) -> None:
        self.told.append(problem)


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # TensorBoard's.
def test_a_run_outlives_a_full_disk_and_has_all_of_its_log(
    tiny_config: RunConfig, tmp_path: Path
) -> None:
    config = with_training(tiny_config, checkpoints={"every": 12}, trackers=["tensorboard"])
    watcher = Filling(config.run / "metrics.jsonl", 3, 8)
    assert pretrain(config, watcher)["finished"]
    whole = tiny_config.model_copy(update={"run": tmp_path / "whole"})
    pretrain(whole, Watcher())
    assert trace(config.run) == trace(whole.run)
    # Held-out scores of the first stage came while there was no room.
    assert [line["step"] for line in logged_lines(config.run, "heldout")] == [0, 5, 12]
    assert (config.run / "retention.csv").read_text() == (whole.run / "retention.csv").read_text()
    assert [
        problem.split(" ")[0] for problem in watcher.told if "cannot be written" in problem
    ] == [str(watcher.log)]
    assert [problem for problem in watcher.told if "is written again" in problem]


def test_a_log_that_is_never_whole_ends_a_run_with_a_message_and_its_last_checkpoint(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(log: MetricsLog) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MetricsLog, "_append", full)
    with pytest.raises(UserError, match=r"missing in .*metrics\.jsonl, .*retention\.csv"):
        pretrain(tiny_config, Watcher())
    assert checkpoints(tiny_config.run / "checkpoints")[-1].name == "step-12"


def test_a_disk_that_is_full_from_the_first_is_one_message(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder, "write_text", full)
    with pytest.raises(
        UserError,
        match=r"config\.yaml cannot be written: No space left on device; [\d,.]+ MB are free there",
    ):
        pretrain(tiny_config, Watcher())
