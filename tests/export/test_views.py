"""Exports of a run whose tasks have layers of their own: each view scores what the run scores."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Batch
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.run.open import open_run
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.batches import batch_of
from tests.support.encoders import ENCODERS
from tests.support.runs import finished_run, tiny_settings

TASKS = ("knowledge_masking", "capitalization", "sentence_reordering")
CPU = torch.device("cpu")
MODES: dict[str, dict[str, Any]] = {
    "partial": {"mode": "partial", "layers": 1, "groups": "task"},
    "soft": {"mode": "soft", "strength": 0.05},
    "related": {"mode": "related", "every": 4, "threshold": 1.0, "samples": 64},
    "rank": {"mode": "partial", "groups": "task", "rank": 4},
}


@pytest.fixture(
    scope="module",
    params=[
        *("partial learned", "rank rotary", "soft rotary", "related rotary"),
        "partial modernbert_windows",
        pytest.param("rank modernbert", marks=pytest.mark.slow),
    ],
)
def run(
    request: pytest.FixtureRequest, english: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    mode, encoder = request.param.split()
    settings = tiny_settings(english, tmp_path_factory.mktemp("views") / "run")
    settings |= {
        "sharing": MODES[mode],
        "stages": [{"name": "all", "budgets": dict.fromkeys(TASKS, 2)}],
        "tasks": {task: {"masked_tokens": True} for task in TASKS[1:]},
    }
    settings["encoder"] |= ENCODERS[encoder] | {"dropout": 0.0}
    settings["optimizer"]["learning_rate"] = 1e-2
    config = RunConfig.model_validate(settings)
    pretrain(config, Observer())
    return config.run


def scores_of_run(run: Path, task: str) -> tuple[torch.Tensor, Batch, int]:
    """What the run scores at the masked places of some held-out samples of a task."""
    opened, model, _ = open_run(run)
    number = TASKS.index(task)
    row = opened.instances[number].row
    batch = batch_of(opened, [[(number, sample)] for sample in range(3)], split="heldout")
    with torch.no_grad():
        scores = model.eval().head_scores(model.on_device(batch, CPU), "masked_token")
    return scores, batch, row


def scores_of_export(folder: Path, batch: Batch, row: int) -> torch.Tensor:
    loaded = AutoModelForMaskedLM.from_pretrained(folder).eval()
    found = torch.zeros(batch.token_ids.size, loaded.config.vocab_size)
    for start, length in zip(batch.sequence_starts, batch.sequence_lengths, strict=True):
        part = slice(start, start + length)
        inputs = {
            "input_ids": torch.from_numpy(batch.token_ids.flatten()[part])[None],
            "token_type_ids": torch.from_numpy(batch.token_type_ids.flatten()[part])[None],
        }
        if "task_type_vocab_size" in loaded.config.to_dict():
            inputs["task_type_ids"] = torch.full_like(inputs["input_ids"], row)
        with torch.no_grad():
            found[part] = loaded(**inputs).logits[0]
    return found[batch.targets["masked_token"].positions]


@pytest.mark.parametrize("task", TASKS)
def test_a_view_scores_what_the_run_scores_for_its_task(
    run: Path, tmp_path: Path, task: str
) -> None:
    result = export_run(run, tmp_path / "model", None, view=task)
    assert result["max_abs_log_probability_difference"] < 1e-5
    expected, batch, row = scores_of_run(run, task)
    found = scores_of_export(tmp_path / "model", batch, row)
    torch.testing.assert_close(found.log_softmax(-1), expected.log_softmax(-1), atol=1e-4, rtol=0)
    others = {"knowledge_masking": "capitalization"}.get(task, "trunk")
    export_run(run, tmp_path / "other", None, view=others)
    other = scores_of_export(tmp_path / "other", batch, row)
    assert float((other - found).abs().max()) > 1e-3
    about = json.loads((tmp_path / "model" / "pretraining.json").read_text("utf-8"))
    name = "trunk" if task == TASKS[0] else task
    assert (about["view"], about["tasks_of_view"]) == (name, [task])
    assert f"the view `{name}`, the layers of\n{task}" in (tmp_path / "model/README.md").read_text()
    heads = tmp_path / "model" / "pretraining_heads.safetensors"
    if heads.exists():
        with safe_open(heads, framework="pt") as kept:
            assert {key.partition("/")[0] for key in kept.keys()} == {task}  # noqa: SIM118


def test_the_mean_of_softly_shared_layers_is_a_view(run: Path, tmp_path: Path) -> None:
    model = open_run(run)[1]
    if not model.sharing.strength:
        with pytest.raises(UserError, match=r"'mean' needs copies that are pulled together"):
            export_run(run, tmp_path / "model", None, view="mean")
        return
    export_run(run, tmp_path / "model", None, view="mean")
    trunk = model.family.layers
    for name, parameter in torch.nn.ModuleList(trunk).named_parameters():
        others = [branch.get_parameter(name) for branch in model.family.branches.values()]
        parameter.data = (parameter + others[0] + others[1]).detach() / 3
    expected = model.family.stock_state(model.vocabulary_head, 0)
    found = load_file(tmp_path / "model" / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-7, rtol=1e-6)


def test_a_view_that_is_not_there_is_refused(run: Path, english: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no view 'capitalisation'; did you mean 'capitalization'"):
        export_run(run, tmp_path / "model", None, view="capitalisation")
    hard = finished_run(english, tmp_path / "hard")
    with pytest.raises(UserError, match=r"share every layer .*leave --view out"):
        export_run(hard, tmp_path / "model", None, view="capitalization")
    export_run(hard, tmp_path / "model", None, view="trunk")
