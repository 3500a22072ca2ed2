"""A corpus, a run and an export that an earlier version wrote: they open, and the run continues.

`first_format.zip` holds a run of eight steps and two stages. Its settings have the keys of before:
those of `training` without groups, and `rows` for the table of the task `mood`.
"""

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.finetuning.task_views import filled_rows
from ernie_cmtl.run.earlier_format import settings_of_today, with_new_names
from ernie_cmtl.run.open import read_config, saved_config
from ernie_cmtl.run.state import RunState
from ernie_cmtl.training.checkpoint import _sums, checkpoints
from ernie_cmtl.verbs.extend import Extension, extended_config
from ernie_cmtl.verbs.finetune import as_pretrained
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.command_line import mistake, result_of
from tests.support.runs import Watcher, final_tensors, logged_lines, same_tensors

ARCHIVE = Path(__file__).parents[1] / "support" / "first_format.zip"
STEPS = 8


class Listener(Watcher):
    """Keeps the settings that are not those of the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.settings: dict[str, tuple[Any, Any]] = {}

    def changed(self, settings: dict[str, tuple[Any, Any]]) -> None:
        self.settings = settings


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of `corpus`, `run` and `export`; the run knows where it is now."""
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path / "old")
    config = tmp_path / "old" / "run" / "config.yaml"
    config.write_text(config.read_text().replace("/old/", f"{tmp_path / 'old'}/"))
    return tmp_path / "old"


def same_weights(first: Path, second: Path) -> bool:
    return same_tensors(*(load_file(path / "model.safetensors") for path in (first, second)))


def settings_in_its_checkpoint(run: Path) -> dict[str, Any]:
    (checkpoint,) = checkpoints(run / "checkpoints")
    return dict(json.loads((checkpoint / "state.json").read_text())["run"]["settings"])


def test_the_corpus_opens(old: Path) -> None:
    corpus = Corpus(old / "corpus")
    assert (corpus.split("train").documents, corpus.split("heldout").documents) == (54, 16)
    assert corpus.text("train", "moods").documents > 30


def test_its_settings_are_found_under_the_new_names(old: Path) -> None:
    config = saved_config(old / "run")
    assert config.tasks["mood"].options == {"table": "moods", "label": "label"}
    training = config.training
    assert training.checkpoints.model_dump() == {
        "every": 4,
        "keep": 1,
        "keep_every": None,
        "asynchronous": False,
    }
    assert training.heldout.model_dump() == {"every": 4, "samples": 8}
    assert training.skipping.model_dump() == {"limit": 5, "spike_window": 3, "spike_sigma": 20.0}
    assert (training.log_every, training.trackers) == (2, [])


def test_it_scores_as_its_log_says(old: Path) -> None:
    logged = logged_lines(old / "run", "heldout")[-1]
    found = result_of("evaluate", old / "run")
    assert (found["step"], logged["step"]) == (STEPS, STEPS)
    assert found["heldout"].keys() == logged["tasks"].keys()
    for name, score in logged["tasks"].items():
        assert found["heldout"][name]["loss"] == pytest.approx(score["loss"], rel=1e-4)


def test_its_configuration_finds_it_finished(old: Path) -> None:
    before, lines = final_tensors(old / "run"), logged_lines(old / "run")
    found = result_of("pretrain", old / "run" / "config.yaml")
    assert (found["steps"], found["finished"]) == (STEPS, True)
    assert logged_lines(old / "run") == lines
    assert same_tensors(final_tensors(old / "run"), before)
    # It is written under the new names, and read again.
    written = yaml.safe_load((old / "run" / "config.yaml").read_text())
    assert written["training"]["checkpoints"]["every"] == 4
    assert written["tasks"]["mood"]["table"] == "moods"
    assert result_of("pretrain", old / "run" / "config.yaml")["finished"]


def test_nothing_but_its_place_differs_from_its_checkpoint(old: Path) -> None:
    listener = Listener()
    pretrain(saved_config(old / "run"), listener)
    assert listener.settings.keys() == {"run", "corpus"}
    (line,) = logged_lines(old / "run", "settings")
    assert line["changed"].keys() == {"run", "corpus"}


def test_it_is_extended_by_a_task(old: Path) -> None:
    listener = Listener()
    config = extended_config(old / "run", Extension("capitalization", budget=2))
    steps = STEPS + sum(config.stages[-1].budgets.values())
    found = pretrain(config, listener)
    assert listener.began_at == STEPS
    assert listener.settings.keys() == {"run", "corpus"}
    assert (found["steps"], found["finished"]) == (steps, True)
    assert found["consumed"]["capitalization"] > 0
    assert logged_lines(old / "run")[-1]["step"] == steps
    assert result_of("evaluate", old / "run")["step"] == steps


def test_its_export_has_the_weights_of_the_old_one(old: Path, tmp_path: Path) -> None:
    result_of("export", old / "run", "--output", tmp_path / "model")
    assert same_weights(tmp_path / "model", old / "export")


def test_it_is_fine_tuned_from_the_same_weights(old: Path) -> None:
    with as_pretrained(str(old / "run")) as model:
        assert same_weights(Path(model), old / "export")
        assert filled_rows(model) == [0, 1]


def test_the_old_export_loads(old: Path) -> None:
    model = AutoModelForMaskedLM.from_pretrained(old / "export")
    tokens = torch.arange(10)[None]
    assert model(tokens).logits.shape == (1, 10, Corpus(old / "corpus").vocabulary.size)
    assert filled_rows(str(old / "export")) == [0, 1]


@pytest.mark.parametrize("verb", ["pretrain", "plan", "bench"])
@pytest.mark.parametrize("place", ["mine/config.yaml", "run/mine.yaml"])
def test_a_configuration_that_no_run_wrote_is_not_translated(
    old: Path, verb: str, place: str
) -> None:
    path = old / place
    path.parent.mkdir(exist_ok=True)
    path.write_text((old / "run" / "config.yaml").read_text())
    message = mistake(verb, path)
    assert "unknownkey'training.checkpoint_every';itisnow'training.checkpoints.every'" in message


def test_overrides_of_the_configuration_of_a_run_have_the_new_names(old: Path) -> None:
    path = old / "run" / "config.yaml"
    assert read_config(path, ["training.checkpoints.every=3"]).training.checkpoints.every == 3
    assert result_of("plan", path, "training.checkpoints.every=3")["total"] == STEPS
    for override, message in (
        ("training.keep_every=3", "'training.keep_every';itisnow'training.checkpoints.keep_every'"),
        ("tasks.mood.rows=moods", "tasks.mood:unknownkey'rows';itisnow'table'"),
    ):
        assert message in mistake("pretrain", path, override)


def test_settings_of_today_stay_as_they_are(old: Path) -> None:
    before = settings_in_its_checkpoint(old / "run")
    today = settings_of_today(before)
    assert today == settings_of_today(today) == with_new_names(today)
    assert RunConfig.model_validate(today).model_dump(mode="json") == today
    assert today.keys() >= before.keys()


def test_settings_that_came_after_a_checkpoint_have_their_defaults(
    tiny_config: RunConfig,
) -> None:
    assert pretrain(tiny_config, Watcher(interrupt_at=5))["steps"] == 6
    newest = checkpoints(tiny_config.run / "checkpoints")[-1]
    written = json.loads((newest / "state.json").read_text())
    whole = json.loads(json.dumps(written["run"]["settings"]))
    settings = written["run"]["settings"]
    for part, key in (
        (settings, "mode"),
        (settings, "feedback"),
        (settings["data"], "maximum_length"),
        (settings["encoder"], "task_embedding"),
        (settings["optimizer"], "kind"),
        (settings["training"], "sharding"),
        (settings["training"]["skipping"], "spike_sigma"),
        (settings["stages"][1], "restart_schedule"),
    ):
        del part[key]
    assert RunState.of_json(written["run"]).settings == whole
    (newest / "state.json").write_text(json.dumps(written))
    (newest / "SHA256SUMS").write_text(_sums(newest))
    listener = Listener()
    assert pretrain(tiny_config, listener)["finished"]
    assert (listener.began_at, listener.settings) == (6, {})


def test_settings_that_are_not_accepted_any_more_are_compared_as_they_were(
    tiny_config: RunConfig,
) -> None:
    settings = tiny_config.model_dump(mode="json")
    settings["encoder"]["gone"] = 3
    assert settings_of_today(settings) == settings


@pytest.mark.parametrize(
    "settings",
    [
        {"training": None, "tasks": None},
        {"training": [1], "tasks": [2]},
        {"training": {"checkpoints": 3, "checkpoint_every": 4}, "tasks": {"mood": "x"}},
        {"tasks": {"mood": {"rows": "old", "table": "new"}}},
    ],
)
def test_what_no_version_wrote_is_left_to_the_check(settings: dict[str, Any]) -> None:
    assert with_new_names(settings) == settings
