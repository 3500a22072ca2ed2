"""An encoder family, a loss rule, a head kind and an export format of one's own are one file each:
every verb takes them, and nothing else is edited.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForMaskedLM, BertForMaskedLM

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.run.open import open_run
from ernie_cmtl.run.run import Run
from ernie_cmtl.settings import dump
from ernie_cmtl.training.optimizer import OptimizerConfig, build_optimizer
from ernie_cmtl.verbs.evaluate import Measures, evaluate
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.extend import Extension, extended_config
from ernie_cmtl.verbs.plan import plan
from ernie_cmtl.verbs.plugins import KINDS, add_plugin
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.command_line import ROOT, call, result_of
from tests.support.models import largest_difference, sentences, vocabulary_scores
from tests.support.runs import (
    Watcher,
    final_tensors,
    logged_lines,
    same_tensors,
    tiny_settings,
    trace,
)

PLUGINS = [f"tests.support.plugins.toy_{name}" for name in ("encoder", "weighting", "head", "task")]
FORMAT = "tests.support.plugins.toy_format"


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for kind in KINDS:
            patch.setattr(kind, "_modules", {})
        for module in (*PLUGINS, FORMAT):
            add_plugin(module)
        yield
    # Kinds are remembered by name.
    head_kind.cache_clear()


def own_config(corpus: Corpus, run: Path, **changes: Any) -> RunConfig:
    settings = tiny_settings(corpus, run)
    settings["encoder"] |= {"architecture": "toy_encoder", "dropout": 0.1}
    settings["loss_weighting"] = {"rule": "toy_weighting", "strength": 2.0}
    settings["stages"][1]["budgets"] = {"knowledge_masking": 4, "toy_task": 3}
    # A family has every mode of sharing without a line of its own.
    settings["sharing"] = {"mode": "partial", "groups": "task"}
    return RunConfig.model_validate(settings | changes)


@pytest.fixture(scope="module")
def finished(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the toy family, with its rule and its head."""
    folder = tmp_path_factory.mktemp("toy") / "run"
    pretrain(own_config(english, folder), Watcher())
    return folder


def model_of(corpus: Corpus, folder: Path) -> MultiTaskModel:
    return Run(own_config(corpus, folder)).new_model()


def test_a_family_of_ones_own_learns(finished: Path) -> None:
    assert len(logged_lines(finished)) == 12
    start, *_, end = (line["tasks"] for line in logged_lines(finished, "heldout"))
    assert end["knowledge_masking/masked_token"]["loss"] < (
        start["knowledge_masking/masked_token"]["loss"] - 0.01
    )
    assert end["toy_task/capital"]["loss"] < start["toy_task/capital"]["loss"] - 0.1


def test_a_run_that_was_broken_off_is_the_unbroken_one(
    finished: Path, english: Corpus, tmp_path: Path
) -> None:
    config = own_config(english, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, Watcher(crash_at=10))
    pretrain(config, Watcher())
    assert trace(tmp_path / "run") == trace(finished)
    assert same_tensors(final_tensors(tmp_path / "run"), final_tensors(finished))


def test_the_norms_of_the_family_are_not_decayed_and_muon_gets_its_matrices(
    english: Corpus, tmp_path: Path
) -> None:
    model = model_of(english, tmp_path)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    adamw, muon = build_optimizer(
        model, OptimizerConfig(kind="muon"), model.family.norms, model.family.matrices
    ).parts
    blocks = ["encoder.blocks.0.", "encoder.blocks.1.", "branches.toy_task.0."]
    assert [names[id(p)] for p in muon.param_groups[0]["params"]] == [
        f"{block}{name}.weight" for block in blocks for name in ("mixed", "out", "wide", "narrow")
    ]
    free = {names[id(p)] for p in adamw.param_groups[1]["params"]}
    norms = [f"{block}{name}" for block in blocks for name in ("first", "second")]
    norms += ["encoder.start", "heads.masked_token.transform.2"]
    linears = [f"{block}{name}" for block in blocks for name in ("mixed", "out", "wide", "narrow")]
    linears += ["encoder.summary", "heads.masked_token.transform.0", "heads.masked_token"]
    assert free == {f"{name}.{part}" for name in norms for part in ("scale", "shift")} | {
        f"{name}.bias" for name in linears
    }
    decayed = {names[id(p)] for p in adamw.param_groups[0]["params"]}
    assert "encoder.words.weight" in decayed
    assert not [name for name in decayed if name.endswith(("scale", "shift", "bias"))]


def test_without_its_matrices_muon_is_refused(english: Corpus, tmp_path: Path) -> None:
    model = model_of(english, tmp_path)
    with pytest.raises(UserError, match="accepted: adamw"):
        build_optimizer(model, OptimizerConfig(kind="muon"), (nn.LayerNorm,), [])


def test_plan_counts_the_family_s_own_operations(english: Corpus, tmp_path: Path) -> None:
    config = own_config(english, tmp_path)
    found = plan(config, 1, 1, None, None)["flops"]
    ernie = config.encoder.model_copy(update={"architecture": "ernie", "intermediate_size": 64})
    same = plan(config.model_copy(update={"encoder": ernie}), 1, 1, None, None)["flops"]
    assert found == same > 0


@pytest.mark.slow
def test_two_workers_started_from_the_command_line_share_it_in_shards(
    finished: Path, english: Corpus, tmp_path: Path
) -> None:
    settings = own_config(english, tmp_path / "run").model_dump(mode="json")
    settings["training"]["sharding"] = "full"
    path = tmp_path / "run.yaml"
    path.write_text(dump(RunConfig.model_validate(settings)), encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "launch.py", "pretrain", str(path), "--workers", "2", "--json"),
            *(word for module in PLUGINS for word in ("--plugin", module)),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 12
    alone, shared = (
        [line["loss"] for line in logged_lines(run)] for run in (finished, tmp_path / "run")
    )
    assert shared == pytest.approx(alone, rel=1e-6)


def test_it_is_extended_by_a_task(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    extended = extended_config(run, Extension("sentence_reordering", budget=2))
    report = pretrain(extended, Watcher())
    assert report["steps"] > 12
    assert "sentence_reordering/order" in report["losses"]


def test_it_is_judged_as_its_export_computes(finished: Path, tmp_path: Path) -> None:
    found = evaluate(str(finished), None, None, [], Measures())["heldout"]
    logged = logged_lines(finished, "heldout")[-1]["tasks"]
    assert found.keys() == logged.keys()
    for name, score in found.items():
        assert score["loss"] == pytest.approx(logged[name]["loss"], rel=1e-5)


def test_its_export_is_a_stock_class_that_computes_the_same(
    finished: Path, english: Corpus, tmp_path: Path
) -> None:
    report = export_run(finished, tmp_path / "model", None)
    assert report["max_abs_logit_difference"] == 0
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path / "model")
    assert type(loaded) is BertForMaskedLM
    assert AutoModel.from_pretrained(tmp_path / "model").pooler is not None
    _, model, _ = open_run(finished)
    with torch.no_grad():
        expected = [loaded(torch.tensor([row])).logits[0] for row in sentences(english)]
    assert largest_difference(vocabulary_scores(model, english), expected) < 1e-4


def test_it_is_fine_tuned(finished: Path, tmp_path: Path) -> None:
    rows = "".join(f"the list {n} is {w}\t{w}\n" for n in range(8) for w in ("empty", "sorted"))
    (tmp_path / "rows.tsv").write_text("sentence\tlabel\n" + rows, encoding="utf-8")
    recipe = {
        "kind": "classification",
        "data": {"train": "rows.tsv", "dev": "rows.tsv"},
        "columns": {"text": "sentence", "label": "label"},
        "train": {"epochs": 1, "batch_size": 8, "learning_rates": [1e-3], "seeds": [1]},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    words = [word for module in PLUGINS for word in ("--plugin", module)]
    result = result_of("finetune", finished, "--task", path, "--data", tmp_path, *words)
    assert 0 <= result["mean"] <= 1


def test_a_rule_of_ones_own_weighs_the_losses_and_remembers(
    finished: Path, english: Corpus, tmp_path: Path
) -> None:
    manual = own_config(english, tmp_path / "run", loss_weighting={})
    pretrain(manual, Watcher())
    ours, theirs = trace(finished), trace(tmp_path / "run")
    # The start was measured before the first step, so the first loss is weighed by it.
    assert [row[1] for row in ours[:1]] != [row[1] for row in theirs[:1]]
    state = json.loads(
        (finished / "checkpoints" / "step-12" / "state.json").read_text(encoding="utf-8")
    )["run"]["loss_weighting"]
    assert set(state["factors"]) >= {"knowledge_masking", "toy_task"}
    assert all(0 < factor < 1 for factor in state["factors"].values())


def test_an_option_of_the_rule_is_checked(english: Corpus, tmp_path: Path) -> None:
    wrong = own_config(english, tmp_path / "run", loss_weighting={"rule": "toy_weighting", "x": 1})
    with pytest.raises(UserError, match=r"loss_weighting: unknown key 'x'; accepted: strength"):
        pretrain(wrong, Watcher())
    absent = own_config(english, tmp_path / "run", loss_weighting={"rule": "absent"})
    with pytest.raises(UserError, match="no loss weighting named 'absent'; registered are classes"):
        pretrain(absent, Watcher())


def test_a_head_of_ones_own_has_its_weights_and_its_accuracy(finished: Path) -> None:
    logged = logged_lines(finished, "heldout")[-1]["tasks"]["toy_task/capital"]
    assert 0.5 < logged["accuracy"] <= 1
    assert "heads.toy_task/capital.sharpness" in final_tensors(finished)


def test_a_format_of_ones_own_is_written_checked_and_described(
    finished: Path, tmp_path: Path
) -> None:
    words = [word for module in (*PLUGINS, FORMAT) for word in ("--plugin", module)]
    output = tmp_path / "out"
    result = result_of("export", finished, "--output", output, "--format", "toy_format", *words)
    assert result["format"] == "toy_format"
    assert result["largest_difference"] < 1e-6
    assert "a line for each token" in (output / "README.md").read_text(encoding="utf-8")
    assert "vectors.txt" in (output / "SHA256SUMS").read_text(encoding="utf-8")
    assert np.loadtxt(output / "vectors.txt").shape[1] == 32
    # A second export, in another format, replaces the first one's files.
    export_run(finished, output, None)
    assert not (output / "vectors.txt").exists()


def test_an_unknown_name_is_refused_with_those_there_are(finished: Path, tmp_path: Path) -> None:
    done = call("export", finished, "--output", tmp_path / "out", "--format", "gguf")
    assert done.exit_code == 2
    registered = "bert, hf, onnx, sentence_transformers, toy_format"
    assert f"no export format named 'gguf'; registered are {registered}" in done.output
    done = call("plan", ROOT / "configs/quickstart.yaml", "encoder.architecture=t5")
    assert done.exit_code == 2
    assert (
        "no encoder architecture named 't5'; registered are ernie, modernbert, toy_encoder"
        in done.output
    )


def test_a_module_that_adds_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="exactly one class derived from one of PretrainTask"):
        add_plugin("tests.support.runs")
    with pytest.raises(UserError, match="does not import: ModuleNotFoundError"):
        add_plugin("no.such.module")
