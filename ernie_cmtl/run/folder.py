"""The folder of a run: every path in it, and what it says of settings and corpus."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_cmtl.atomic_files import write_problem, write_text
from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.run.corpus_place import found_place, written_place
from ernie_cmtl.run.run import Run
from ernie_cmtl.settings import dump
from ernie_cmtl.sole_writer import SoleWriter, refuse_links, sole_writer
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.metrics import damaged_lines

_FOREIGN = ("wandb",)
"""What trackers write in a run folder in their own ways, links among them."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps what it writes."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def corpus(self) -> Path:
        """What the run reads of its corpus."""
        return self.path / "corpus.json"

    @property
    def metrics(self) -> Path:
        """The log, a line of JSON for each event."""
        return self.path / "metrics.jsonl"

    @property
    def retention(self) -> Path:
        """Held-out scores as a tidy table."""
        return self.path / "retention.csv"

    @property
    def tracker_id(self) -> Path:
        """The name that trackers know the run by."""
        return self.path / "tracker_id"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints, `step-N`."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """What TensorBoard reads."""
        return self.path / "tensorboard"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of all that a run may write, with the usual place of its export."""
        ours = (
            self.config,
            self.corpus,
            self.metrics,
            damaged_lines(self.metrics),
            self.retention,
            self.tracker_id,
            self.checkpoints,
            self.tensorboard,
        )
        return (*(path.name for path in ours), "export")

    @property
    def is_run(self) -> bool:
        """Tell whether a run was started there."""
        return self.config.is_file()

    def wrote(self, path: Path) -> bool:
        """Tell whether a file is the configuration that a run wrote: what the run reads of its
        corpus is beside it.
        """
        return path == self.config and self.corpus.is_file()

    def found_corpus(self, written: str) -> Path:
        """Return where the corpus of the run is; written: the path in its configuration."""
        try:
            last = json.loads(self.corpus.read_text(encoding="utf-8"))["place"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            # An earlier version did not write it, and it is only a second place to look.
            last = None
        return found_place(self.path, written, last if isinstance(last, str) else None)

    def refuse_links(self) -> None:
        """Refuse a folder in which a part is a symbolic link.

        Raises:
            UserError: It names the link.
        """
        refuse_links(self.path, self.parts, _FOREIGN)

    @contextmanager
    def sole_writer(self, workers: Workers) -> Iterator[Callable[[], None]]:
        """Be the only run in the folder; yields what makes sure of it before something is written,
        on the main worker.

        Raises:
            UserError: Another process trains there, or a part of the folder is a symbolic link;
                every worker raises.
        """
        writers: list[SoleWriter] = []

        def check() -> None:
            for writer in writers:
                writer.check()

        with ExitStack() as held:
            workers.on_main(
                lambda: writers.append(
                    held.enter_context(sole_writer(self.path, self.parts, _FOREIGN))
                )
            )
            yield check


def resolved(run: Run, model: MultiTaskModel) -> RunConfig:
    """Return the configuration of a run with paths that hold in any working directory, the span
    layers that its tasks mask by and the encoder's real sizes.
    """
    config = run.config
    return config.model_copy(
        update={
            "run": config.run.resolve(),
            "corpus": config.corpus.resolve(),
            "spans": run.corpus.profile.spans if config.spans is None else config.spans,
            "encoder": model.family.config,
        }
    )


def write_settings(run: Run, settings: RunConfig) -> None:
    """Write `config.yaml` and `corpus.json`; settings: resolved.

    The path of the corpus is written as it is seen from the folder, so that a folder in which both
    lie may be copied or moved.

    Raises:
        UserError: The disk does not take them.
    """
    folder = RunFolder(run.config.run)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        place = written_place(folder.path, settings.corpus)
        written = settings.model_copy(update={"run": run.config.run, "corpus": Path(place)})
        write_text(folder.config, dump(written))
        write_text(folder.corpus, json.dumps(_pinned(run) | {"place": str(settings.corpus)}))
    except OSError as error:
        raise UserError(write_problem(folder.config, error)) from error


def _pinned(run: Run) -> dict[str, Any]:
    return {
        "fingerprint": run.corpus.manifest.fingerprint,
        "pin": run.pin,
        "layers": run.read_layers,
        "mixture": run.mixture,
        "content": run.content,
    }
