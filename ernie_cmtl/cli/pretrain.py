"""The verb pretrain on the command line."""

from typing import Annotated

import typer

from ernie_cmtl.cli.shared import (
    ConfigFile,
    CorpusFolder,
    Json,
    Overrides,
    PluginModules,
    add_plugins,
    with_corpus,
)

EXAMPLE = (
    "Example: ernie-cmtl pretrain configs/quickstart.yaml run=runs/mine/run "
    "optimizer.learning_rate=1e-3"
)


def pretrain(
    config: ConfigFile,
    overrides: Overrides = None,
    corpus: CorpusFolder = None,
    workers: Annotated[
        str,
        typer.Option(
            "--workers",
            help="Number of worker processes on this machine; auto: one per GPU.",
        ),
    ] = "1",
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Train a run; resume if its folder holds a checkpoint."""
    from ernie_cmtl.cli.training_view import train
    from ernie_cmtl.run.open import read_config

    add_plugins(plugin)
    settings = read_config(config, with_corpus(overrides, corpus))
    if workers == "1":
        train(settings, as_json)
        return
    from ernie_cmtl.cli.local_workers import count_workers, train_with_workers

    train_with_workers(count_workers(workers), settings, as_json, plugin)
