"""What the folder of a run says of its settings and its corpus."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ernie_cmtl.atomic_files import write_problem, write_text
from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.encoder import encoder_sizes
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.run.assemble import Run
from ernie_cmtl.settings import dump
from ernie_cmtl.sole_writer import SoleWriter, sole_writer
from ernie_cmtl.training.workers import Workers

PARTS = ("config.yaml", "corpus.json", "metrics.jsonl", "retention.csv", "tracker_id", "checkpoints", "tensorboard", "export")
"""What a run folder holds."""
FOREIGN = ("wandb",)
"""What trackers write there in their own ways, links among them."""


@contextmanager
def sole_run(folder: Path, workers: Workers) -> Iterator[Callable[[], None]]:
    """Be the only run in a folder; yields what makes sure of it before something is written, on the main worker.

    Raises:
        UserError: Another process trains there, or a part of the folder is a symbolic link; every worker raises.
    """
    writers: list[SoleWriter] = []

    def check() -> None:
        for writer in writers:
            writer.check()

    with ExitStack() as held:
        workers.on_main(lambda: writers.append(held.enter_context(sole_writer(folder, PARTS, FOREIGN))))
        yield check


def resolved(config: RunConfig, model: MultiTaskModel) -> RunConfig:
    """Return the configuration with a corpus that is found from any working directory and the encoder's real sizes."""
    encoder = config.encoder.model_copy(update=encoder_sizes(model.encoder))
    return config.model_copy(update={"corpus": config.corpus.resolve(), "encoder": encoder})


def write_settings(run: Run, settings: RunConfig) -> None:
    """Write `config.yaml` and `corpus.json`; settings: resolved.

    Raises:
        UserError: The disk does not take them.
    """
    folder = run.config.run
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.yaml", dump(settings))
        write_text(folder / "corpus.json", json.dumps(_pinned(run)))
    except OSError as error:
        raise UserError(write_problem(folder / "config.yaml", error)) from error


def _pinned(run: Run) -> dict[str, Any]:
    return {"fingerprint": run.corpus.manifest.fingerprint, "pin": run.pin, "layers": run.read_layers, "mixture": run.mixture}
