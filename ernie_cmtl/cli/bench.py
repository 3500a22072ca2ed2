"""The verb bench on the command line."""

from typing import Annotated

import typer
from rich.console import RenderableType

from ernie_cmtl.cli.shared import (
    ConfigFile,
    CorpusFolder,
    Json,
    Overrides,
    PluginModules,
    add_plugins,
    print_result,
    with_corpus,
)
from ernie_cmtl.cli.tables import Table

EXAMPLE = "Example: ernie-cmtl bench configs/quickstart.yaml --steps 20"


def bench(
    config: ConfigFile,
    overrides: Overrides = None,
    corpus: CorpusFolder = None,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps.")] = 20,
    warmup: Annotated[int, typer.Option(min=0, help="Steps before.")] = 3,
    peak_tflops: Annotated[float | None, typer.Option(help="Peak of the device, for MFU.")] = None,
    data_only: Annotated[bool, typer.Option("--data-only", help="Only make the batches.")] = False,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Time the steps of a run without writing anything."""
    from ernie_cmtl.run.open import read_config
    from ernie_cmtl.verbs.bench import bench as measure

    add_plugins(plugin)
    result = measure(
        read_config(config, with_corpus(overrides, corpus)),
        steps,
        warmup,
        peak_tflops,
        data_only,
    )

    def show() -> RenderableType:
        table = Table("measure", "value")
        for name, value in result.items():
            table.add_row(name, f"{value:,}" if isinstance(value, int | float) else str(value))
        return table

    print_result(result, as_json, show)
