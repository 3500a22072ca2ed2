"""Tokens and passwords that were planted come out in no file, message or log."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from ernie_cmtl.config import load_run_config
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.redaction import redacted
from ernie_cmtl.training.distributed import Workers
from tests.support.command_line import call
from tests.support.corpora import sample_texts, write_jsonl
from tests.support.runs import tiny_settings

# Each is made up, and put together here so that no scanner takes this file for a leak.
VARIABLES = {
    "HF_TOKEN": "hf_" + "Aa1" * 12,
    "WANDB_API_KEY": "9f8e7d6c" * 5,
    "AWS_SECRET_ACCESS_KEY": "wJalr" + "/K7MDENG+" * 3,
    "MLFLOW_TRACKING_PASSWORD": "correct-horse-battery",
}
OTHERS = {
    "address": "https://robot:" + "hunter2hunter@127.0.0.1:9",
    "query": "token=" + "q1w2e3r4t5y6",
    "github": "ghp_" + "b2C" * 12,
    "model": "sk-proj-" + "c3D4" * 12,
    "cloud": "AKIA" + "Q7W8E9R0T1Y2U3I4",
    "bearer": "Bearer " + "d4E5.f6G7-h8I9",
    "password": "password=" + "tr0ub4dor&3"[:10],
    "web": ".".join(["eyJhbGciOi", "eyJzdWIiOi", "SflKxwRJSM"]),
}
PARTS = [
    *VARIABLES.values(),
    "hunter2hunter",
    "q1w2e3r4t5y6",
    "tr0ub4dor",
    "d4E5.f6G7",
    *(OTHERS[name] for name in ("github", "model", "cloud", "web")),
]
"""What must be found nowhere: twelve secrets, each without what is around it."""


def leaks(text: str) -> list[str]:
    return [part for part in PARTS if part in text]


def leaking_files(*folders: Path) -> list[tuple[str, list[str]]]:
    """Return the files that hold a secret, in their content or their name."""
    found = []
    for path in (path for folder in folders for path in folder.rglob("*")):
        content = path.read_bytes().decode(errors="ignore") if path.is_file() else ""
        if held := leaks(content + path.name):
            found.append((str(path), held))
    return found


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("secret", [*VARIABLES.values(), *OTHERS.values()])
def test_each_secret_is_hidden_wherever_it_stands(secret: str) -> None:
    for text in (
        secret,
        f"cannot open {secret}/data.jsonl, sorry",
        json.dumps({"a": f"x {secret}"}),
        f"({secret})",
    ):
        assert leaks(text)
        assert not leaks(redacted(text))
        assert not leaks(str(UserError(text)))
    assert redacted(f"before {secret} after").startswith("before ")
    assert redacted(f"before {secret} after").endswith(" after")


@pytest.mark.parametrize(
    "text",
    [
        "tokenizer 'x' has no cls_token, sep_token; needed are pad_token, mask_token",
        "tokens: 123456789, masked_tokens=True, unit: tokens",
        "unknown key 'token'; accepted: run, corpus",
        "https://huggingface.co/org/name?revision=main",
        "/data/hf_fineweb_english_sample_2024/part-00001.parquet",
        "runs/ask-everything-about-this-long-name-of-a-run",
        "git@host:path, someone@example.org",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert redacted(text) == text


def test_a_path_or_a_short_word_in_a_variable_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/home/somebody/key.json")
    monkeypatch.setenv("DEMO_PASSWORD", "quick")
    assert redacted("/home/somebody/key.json quick") == "/home/somebody/key.json quick"


def test_nothing_that_a_build_and_a_run_write_holds_a_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Secrets in variables, in the address of a dataset, in keys of rejected rows; the run writes
    all that a run writes.
    """
    place = tmp_path / "in" / OTHERS["query"]
    place.mkdir(parents=True)
    write_jsonl(place / "text.jsonl", sample_texts("en", 40))
    rows = [{secret: "no text"} for secret in [*VARIABLES.values(), *OTHERS.values()]]
    (tmp_path / "in" / "rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    corpus, run, model = tmp_path / "corpus", tmp_path / "run", tmp_path / "model"
    dataset = f"web=datasets:json,data_files={place}/text.jsonl"
    words = [
        "prepare",
        "--input",
        dataset,
        str(tmp_path / "in" / "rows.jsonl"),
        "--output",
        str(corpus),
        "--language",
        "en",
    ]
    done = [
        call(
            *words,
            "layers.capitalized_names={}",
            "tokenizer.vocabulary_size=2000",
            "reader.lost_files=skip",
            "--processes",
            "1",
        )
    ]
    settings: dict[str, Any] = tiny_settings(Corpus(corpus), run)
    settings["stages"] = [{"name": "only", "budgets": {"knowledge_masking": 2}}]
    settings["training"]["trackers"] = ["tensorboard"]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    done += [call("pretrain", tmp_path / "run.yaml"), call("export", run, "--output", model)]
    assert [(one.exit_code, one.stderr) for one in done if one.exit_code] == []
    assert len((corpus / "rejects.jsonl").read_text("utf-8").splitlines()) == len(rows)
    written = {path.name for folder in (corpus, run, model) for path in folder.rglob("*")}
    assert written >= {
        "manifest.json",
        "rejects.jsonl",
        "config.yaml",
        "metrics.jsonl",
        "tensorboard",
        "README.md",
    }
    assert leaking_files(corpus, run, model) == []
    captured = capfd.readouterr()
    assert (
        leaks(captured.out + captured.err + "".join(one.stdout + one.stderr for one in done)) == []
    )


@pytest.mark.parametrize("secret", [*VARIABLES.values(), *OTHERS.values()])
@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("run", lambda secret: {"run": f"runs/{secret}"}),
        ("encoder.init_from", lambda secret: {"encoder": {"init_from": secret}}),
        (
            "stages.0.name",
            lambda secret: {"stages": [{"name": secret, "budgets": {"knowledge_masking": 2}}]},
        ),
        ("tasks.", lambda secret: {"tasks": {"knowledge_masking": {secret: 1}}}),
    ],
    ids=["run", "init_from", "stage", "option"],
)
def test_a_run_with_a_secret_in_its_settings_is_refused(
    tmp_path: Path, english: Corpus, secret: str, key: str, changes: Any
) -> None:
    settings = tiny_settings(english, tmp_path / "run") | changes(secret)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with pytest.raises(
        UserError, match=rf"{key}.*looks like a secret.*use the environment"
    ) as caught:
        load_run_config(tmp_path / "run.yaml")
    assert not leaks(str(caught.value))


@pytest.mark.parametrize(
    "name",
    ["WANDB_API_KEY", "DB_PASS", "GPG_PASSPHRASE", "MYSQL_PWD", "STRIPE_KEY", "SESSION_COOKIE"],
)
@pytest.mark.parametrize(
    "value",
    ["${oc.env:NAME}", "a/${oc.env:NAME,b}", "${oc.decode:${oc.env:NAME}}", "${oc.${form}:NAME}"],
)
def test_a_variable_that_a_configuration_asks_for_is_not_handed_out(
    tmp_path: Path,
    english: Corpus,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv(name, "sesame-open-sesame")
    settings = tiny_settings(english, tmp_path / "run")
    settings |= {"form": "env"} if "form" in value else {}
    settings["stages"][0]["name"] = value.replace("NAME", name)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_run_config(tmp_path / "run.yaml")
    assert f"run.yaml: ${{oc.env:{name}}} is not read" in str(caught.value)
    assert f"set ERNIE_CMTL_{name} to the same value" in str(caught.value)
    assert "sesame" not in str(caught.value)
    # The library reads what it read before, for whoever else uses it.
    other = OmegaConf.create({"a": f"${{oc.env:{name}}}"})
    assert OmegaConf.to_container(other, resolve=True) == {"a": "sesame-open-sesame"}


def test_settings_read_places_and_the_variables_that_are_named_for_them(
    tmp_path: Path, english: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    monkeypatch.setenv("ERNIE_CMTL_STAGE", "words")
    monkeypatch.setenv("ERNIE_CMTL_TOKEN", "sesame-open-sesame")
    settings = tiny_settings(english, tmp_path / "run") | {"run": "${oc.env:SCRATCH}/run"}
    settings["stages"][0]["name"] = "${oc.env:ERNIE_CMTL_STAGE}"
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    config = load_run_config(path)
    assert (str(config.run), config.stages[0].name) == (str(tmp_path / "run"), "words")
    with pytest.raises(UserError, match="run holds what looks like a secret"):
        load_run_config(path, ["run=${oc.env:ERNIE_CMTL_TOKEN}"])


@pytest.mark.parametrize(
    "repeated",
    ["a-", "a_", "a-token-", "eyJ-", "eyJa.", "a.eyJ", "token ", "bearer ", "://", "sk-", " ", "a"],
)
@pytest.mark.timeout(60)
def test_a_long_text_is_searched_in_a_moment_whatever_it_repeats(repeated: str) -> None:
    text = "token" + repeated * (200_000 // len(repeated))
    assert redacted(f"{text} so password=tr0ub4dor3").endswith(" so password=[hidden]")


@pytest.mark.parametrize("secret", [*VARIABLES.values(), *OTHERS.values()])
@pytest.mark.parametrize(
    "words",
    [
        "prepare --input {folder}/{secret}/a.jsonl --output {folder}/o --language en",
        "prepare --input datasets:json,data_files={secret}/a.jsonl --output {folder}/o --language "
        "en",
        "prepare --input {folder}/text.jsonl --output {folder}/o --language en api_key={secret}",
        "prepare --input {folder}/text.jsonl --output {folder}/o --language en "
        "heldout_minimum={secret}",
        "pretrain {folder}/{secret}.yaml",
        "evaluate {folder}/{secret}",
    ],
)
def test_messages_hold_no_secret(tmp_path: Path, words: str, secret: str) -> None:
    write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 8))
    done = call(*(word.format(folder=tmp_path, secret=secret) for word in words.split()))
    assert done.exit_code == 2
    assert leaks(done.stdout + done.stderr) == []
    shutil.rmtree(tmp_path / "o", ignore_errors=True)
    assert leaking_files(tmp_path) == []


def test_a_tracker_that_fails_tells_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(
            f"401 for {OTHERS['address']} with Authorization: {OTHERS['bearer']} "
            f"{VARIABLES['WANDB_API_KEY']}"
        )

    workers = Workers("fp32", ["tensorboard"], tmp_path)
    monkeypatch.setattr(workers._accelerator, "init_trackers", fail)
    with pytest.raises(UserError, match="a tracker did not start: 401 for") as caught:
        workers.trackers.start("run", {}, {})
    workers.close()
    assert leaks(str(caught.value)) == []
