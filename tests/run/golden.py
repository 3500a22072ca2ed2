"""Losses of a tiny run of each preset, and of one with rotary positions: 100 steps on the English
sample, one thread, fp32.

    python -m tests.run.golden

records them anew, with the versions and the processor that they come from.
"""

import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.distributed import Workers
from tests.support.corpora import build_corpus, sample_texts
from tests.support.runs import tiny_settings

RECORDED = Path(__file__).with_suffix(".json")
PRESETS = ("continual", "multitask", "continual_multitask", "continual_multitask_mlm")
ROTARY = "rotary"
"""The last preset again, with rotary positions."""
RUNS = (*PRESETS, ROTARY)
TASKS = {"knowledge_masking": {"budget": 40}, "capitalization": {}, "sentence_reordering": {}}
PACKAGES = ("torch", "transformers", "tokenizers", "numpy")


def environment() -> dict[str, str]:
    """Return all that the last bit of a loss may depend on."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text("utf-8").splitlines() if information.exists() else []
    # Of the first core; several processors go by one name.
    about = dict(
        reversed(
            [
                (key.strip(), value.strip())
                for key, _, value in (line.partition(":") for line in lines)
            ]
        )
    )
    parts = [about.get(key, "") for key in ("model name", "cpu family", "model", "stepping")]
    processor = " ".join(filter(None, parts)) or platform.processor()
    found = {"processor": processor, "vectors": torch.backends.cpu.get_cpu_capability()}
    return found | {package: version(package) for package in PACKAGES}


def losses(name: str, corpus: Corpus, folder: Path) -> Iterator[float]:
    """Yield the loss of each step of a run of 1x32 whose three tasks have 40, 30 and 30
    iterations.
    """
    settings: dict[str, Any] = tiny_settings(corpus, folder / name)
    del settings["stages"]
    preset = PRESETS[-1] if name == ROTARY else name
    settings["preset"] = {"name": preset, "budget": 30, "tasks": TASKS}
    settings["data"] = {"row_length": 32, "rows": 4, "rows_per_group": 4}
    settings["encoder"] |= {"layers": 1, "positions": "rotary" if name == ROTARY else "learned"}
    run = Run(RunConfig.model_validate(settings))
    trainer = run.new_trainer(run.new_model(), Workers("fp32"))
    for result in trainer.run(run.steps_from(run.first_ledger(), run.table.steps, 0, 1)):
        yield float(result.loss)


def main() -> None:
    """Record."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        build_corpus(folder, sample_texts("en"))
        corpus = Corpus(folder / "corpus")
        found = {name: list(losses(name, corpus, folder)) for name in RUNS}
    RECORDED.write_text(
        json.dumps({"environment": environment(), "losses": found}, indent=1) + "\n", "utf-8"
    )


if __name__ == "__main__":
    main()
