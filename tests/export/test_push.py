"""An export is pushed in one commit with what it wrote and nothing else; no token is shown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants

from ernie_cmtl.corpus.store.corpus import Corpus
from tests.support.command_line import call, mistake, result_of, squeezed
from tests.support.hub import StandInHub, stand_in_hub
from tests.support.runs import finished_run

TOKEN = "".join(("hf", "_", "only" * 9))


@pytest.fixture(scope="module")
def run(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(english, tmp_path_factory.mktemp("pushed") / "run")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    with stand_in_hub() as started:
        # The library has read the environment when it was imported.
        monkeypatch.setattr(constants, "ENDPOINT", started.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield started


def pushing(run: Path, output: Path, *more: str) -> list[Any]:
    return ["export", run, "--output", output, "--push", "my-org/my-model", *more]


def test_one_commit_holds_what_the_export_wrote_and_nothing_else(
    run: Path, tmp_path: Path, hub: StandInHub
) -> None:
    output = tmp_path / "model"
    result_of("export", run, "--output", output)
    (output / "notes.md").write_text("a person's")
    found = result_of(*pushing(run, output, "--license", "apache-2.0", "--dataset", "acme/texts"))
    (commit,) = hub.commits
    assert found["pushed"] == f"{hub.endpoint}/my-org/my-model/commit/{1:040x}"
    assert hub.repositories == {"my-org/my-model": False}
    assert hub.tokens == {f"Bearer {TOKEN}"}, hub.requests
    written = {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file()
    }
    assert commit["files"].keys() == written.keys() - {"notes.md"}
    assert all(written[name] == data for name, data in commit["files"].items())
    assert {"config.json", "model.safetensors", "README.md", "SHA256SUMS"} <= commit["files"].keys()
    metadata = yaml.safe_load(commit["files"]["README.md"].decode().split("---")[1])
    assert (metadata["license"], metadata["datasets"]) == ("apache-2.0", ["acme/texts"])
    assert (metadata["language"], metadata["pipeline_tag"]) == ("en", "fill-mask")
    assert metadata["library_name"] == "transformers"
    assert "base_model" not in metadata
    (result,) = metadata["model-index"][0]["results"]
    assert result["metrics"][0]["type"] == "loss"
    for data in (*commit["files"].values(), *written.values()):
        assert TOKEN.encode() not in data
    # Once more: the repository is there already.
    result_of(*pushing(run, output))
    assert len(hub.commits) == 2


def test_a_private_repository_is_private_or_nothing_is_pushed(
    run: Path, tmp_path: Path, hub: StandInHub
) -> None:
    result_of(*pushing(run, tmp_path / "model", "--private"))
    assert hub.repositories == {"my-org/my-model": True}
    hub.repositories["my-org/my-model"] = False
    said = mistake(*pushing(run, tmp_path / "model", "--private"))
    assert "notpushed:my-org/my-modelistherealreadyandpublic" in said
    assert len(hub.commits) == 1


@pytest.mark.parametrize(
    ("attribute", "status", "reason"),
    [("status", 401, "401"), ("status", 403, "403"), ("status_of_commits", 503, "503")],
)
def test_a_refusal_of_the_hub_is_one_message_and_the_export_stays(
    run: Path, tmp_path: Path, hub: StandInHub, attribute: str, status: int, reason: str
) -> None:
    setattr(hub, attribute, status)
    done = call(*pushing(run, tmp_path / "model"))
    assert done.exit_code == 2, (done.exception, done.stderr)
    assert "Traceback" not in done.output
    assert TOKEN not in done.output
    said = squeezed(done.stderr)
    assert "notpushedtomy-org/my-model" in said
    assert reason in said
    assert (tmp_path / "model" / "config.json").exists()
    assert not hub.commits


def test_a_hub_that_does_not_answer_is_one_message(
    run: Path, tmp_path: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    said = mistake(*pushing(run, tmp_path / "model"))
    assert "notpushedtomy-org/my-modelathttp://127.0.0.1:9" in said
    assert not hub.requests


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--push", "my-model"], "'my-model'isnoORG/NAME"),
        (["--push", "a/b/c"], "'a/b/c'isnoORG/NAME"),
        (["--push", "../secret"], "isnoORG/NAME"),
        (["--push", ""], "isnoORG/NAME"),
        (["--private"], "--privateisof--pushORG/NAME"),
    ],
)
def test_a_name_that_is_none_is_refused_before_any_work(
    run: Path, tmp_path: Path, hub: StandInHub, more: list[str], message: str
) -> None:
    assert message in mistake("export", run, "--output", tmp_path / "model", *more)
    assert not (tmp_path / "model").exists()
    assert not hub.requests


@pytest.mark.parametrize("token", [None, "", "  "])
def test_without_a_token_nothing_is_begun(
    run: Path, tmp_path: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    # A token that lies on the disk is not taken.
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    said = mistake(*pushing(run, tmp_path / "model"))
    assert "variableHF_TOKENoftheenvironment" in said
    assert not (tmp_path / "model").exists()
    assert not hub.requests


def test_offline_is_said(
    run: Path, tmp_path: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINEisset" in mistake(*pushing(run, tmp_path / "model"))
    assert not (tmp_path / "model").exists()
