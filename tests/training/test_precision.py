"""The first steps in bf16 have the losses of fp32 on a CPU, within what its 8 bits can tell, on
whatever device they run.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ernie_cmtl.config import RunConfig, load_run_config
from ernie_cmtl.run.run import Run
from ernie_cmtl.settings import dump
from ernie_cmtl.training.distributed import Precision, Workers

ROOT = Path(__file__).parents[2]
STEPS = 50


def losses(config: RunConfig, precision: Precision) -> list[float]:
    run = Run(config)
    trainer = run.new_trainer(run.new_model(), Workers(precision))
    return [
        float(result.loss)
        for result in trainer.run(run.steps_from(run.first_ledger(), STEPS, 0, 1))
    ]


def losses_on_a_cpu(config: RunConfig, folder: Path) -> list[float]:
    """Take the steps in a process that sees no GPU."""
    path = folder / "reference.yaml"
    path.write_text(dump(config), encoding="utf-8")
    words = [sys.executable, "-m", __name__, path]
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        check=True,
    )
    return [float(loss) for loss in json.loads(done.stdout)]


@pytest.fixture
def config(tiny_config: RunConfig) -> RunConfig:
    """Heads of all three kinds of tasks, no dropout, which devices draw differently, and steps
    enough to learn something.
    """
    budgets = {"knowledge_masking": 20, "capitalization": 20, "sentence_reordering": 20}
    stage = tiny_config.stages[0].model_copy(update={"budgets": budgets})
    encoder = tiny_config.encoder.model_copy(update={"dropout": 0.0})
    return tiny_config.model_copy(update={"stages": [stage], "encoder": encoder})


def follows(found: list[float], exact: list[float]) -> None:
    assert found != exact
    assert exact[-1] < 0.97 * exact[0]
    assert found == pytest.approx(exact, rel=0.005)


def test_bf16_follows_fp32(config: RunConfig) -> None:
    follows(losses(config, "bf16"), losses(config, "fp32"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
def test_bf16_on_a_gpu_follows_fp32_on_a_cpu(
    config: RunConfig, tmp_path: Path, compiled: bool
) -> None:
    training = config.training.model_copy(update={"compile": compiled})
    follows(
        losses(config.model_copy(update={"training": training}), "bf16"),
        losses_on_a_cpu(config, tmp_path),
    )


if __name__ == "__main__":
    print(json.dumps(losses(load_run_config(Path(sys.argv[1])), "fp32")))
