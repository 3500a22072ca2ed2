"""What verbs share."""

import json

import pytest

from ernie_cmtl.cli.shared import print_result


@pytest.mark.parametrize(("rank", "speaks"), [(None, True), ("0", True), ("1", False)])
def test_of_many_workers_one_prints_the_result(
    rank: str | None,
    speaks: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank:
        monkeypatch.setenv("RANK", rank)
    print_result({"steps": 3}, True, lambda: "")
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"steps": 3} if speaks else not printed
