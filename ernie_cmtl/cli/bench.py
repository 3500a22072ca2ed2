"""The verb bench on the command line."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

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
from ernie_cmtl.cli.terminal import styled

EXAMPLE = "Example: ernie-cmtl bench configs/quickstart.yaml --steps 20"


def bench(
    config: ConfigFile,
    overrides: Overrides = None,
    corpus: CorpusFolder = None,
    steps: Annotated[int, typer.Option(min=1, help="Number of timed steps.")] = 20,
    warmup: Annotated[
        int, typer.Option(min=0, help="Number of steps before the timing starts.")
    ] = 3,
    peak_tflops: Annotated[
        float | None, typer.Option(help="Peak TFLOP/s of the device, for MFU.")
    ] = None,
    data_only: Annotated[
        bool, typer.Option("--data-only", help="Make the batches without training.")
    ] = False,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Measure the speed of training steps, without writing anything."""
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

    print_result(result, as_json, lambda: bench_table(result))


def bench_table(result: Mapping[str, Any]) -> RenderableType:
    """Return the measures as a table, the parts of a step with their shares, and below it what
    holds a run back most.
    """
    table = Table("measure", "value", "share of a step")
    for name, value in result.items():
        if name == "step_seconds":
            for part, seconds in value.items():
                share = f"{seconds / value['total']:.0%}" if value["total"] else "-"
                table.add_row(f"step_seconds {part}", f"{seconds:,}", share)
        elif name != "bottleneck":
            is_number = isinstance(value, int | float)
            table.add_row(name, "-" if value is None else f"{value:,}" if is_number else str(value))
    return Group(table, styled(f"bottleneck: {result['bottleneck']}", "bold"))
