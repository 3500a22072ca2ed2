"""The verb evaluate on the command line."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group

from ernie_cmtl.cli.score_tables import retention_tables, score_table, with_interval
from ernie_cmtl.cli.shared import CorpusFolder, Json, PluginModules, add_plugins, print_result
from ernie_cmtl.cli.tables import Table
from ernie_cmtl.cli.terminal import styled
from ernie_cmtl.errors import UserError

LAYERS = 2
"""Default number of upper layers whose gradients are compared."""
EXAMPLE = "Example: ernie-cmtl evaluate runs/quickstart/run training.heldout.samples=64"


def evaluate(
    model: Annotated[
        str, typer.Argument(help="Folder of a run, or a transformers model.", show_default=False)
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="Task options for the held-out examples, as tasks.NAME.OPTION=value.",
            show_default=False,
        ),
    ] = None,
    step: Annotated[
        int | None, typer.Option(help="Step of the checkpoint; default: the newest.")
    ] = None,
    corpus: CorpusFolder = None,
    minimal_pairs: Annotated[
        Path | None,
        typer.Option(help="JSONL file of good and bad sentences, or a folder of such files."),
    ] = None,
    rest_of_word: Annotated[
        bool,
        typer.Option("--rest-of-word", help="Mask each token together with the rest of its word."),
    ] = False,
    sts: Annotated[
        Path | None, typer.Option(help="TSV or JSONL file with sentence1, sentence2, score.")
    ] = None,
    sources: Annotated[
        bool, typer.Option("--sources/--no-sources", help="Also score each source of the text.")
    ] = True,
    relatedness: Annotated[
        bool, typer.Option("--relatedness", help="Compare the gradients of a run's tasks.")
    ] = False,
    layers: Annotated[
        int | None,
        typer.Option(
            help=f"Number of upper layers that --relatedness compares; default: {LAYERS}."
        ),
    ] = None,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Score a run on its held-out tasks, or any model on minimal pairs and similarity."""
    from ernie_cmtl.verbs.evaluate import Measures
    from ernie_cmtl.verbs.evaluate import evaluate as measure

    add_plugins(plugin)
    if layers is not None and not relatedness:
        raise UserError(f"--layers {layers} is of --relatedness: add it, or leave --layers out")
    related_by = (LAYERS if layers is None else layers) if relatedness else None
    measures = Measures(minimal_pairs, rest_of_word, sts, sources, related_by)
    result = measure(model, step, corpus, settings or [], measures)
    print_result(result, as_json, lambda: Group(*judged_tables(result)))


def judged_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables of what `verbs.evaluate.evaluate` returned."""
    if "heldout" in result:
        title = f"{result['run']}, step {result['step']}, corpus {result['corpus']}"
        yield score_table(title, result["heldout"])
        for name, scores in result["sources"].items():
            yield score_table(f"source {name}", scores)
        yield from retention_tables(result["retention"])
    if "relatedness" in result:
        yield _relatedness_table(result["relatedness"])
    if "minimal_pairs" in result:
        yield _pairs_table(result["minimal_pairs"])
    if "sts" in result:
        yield _similarity_table(result["sts"])


def _relatedness_table(found: Mapping[str, Any]) -> Table:
    from ernie_cmtl.evaluation.relatedness import RELIABLE

    tasks = list(found["cosine"])
    table = Table(
        "task",
        "samples",
        "halves agree",
        *tasks,
        title=f"relatedness: cosines of gradients, last {found['layers']} layer(s)",
        caption=f"unknown: the halves of a task agree by no more than {RELIABLE}; more samples "
        "(training.heldout.samples=N) may tell",
    )
    for task, others in found["cosine"].items():
        agree = found["reliability"][task]
        cells = ["-" if other == task else _cosine(others[other]) for other in tasks]
        samples = f"{found['used'][task]:,}"
        table.add_row(task, samples, "-" if agree is None else _cosine(agree), *cells)
    return table


def _cosine(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.2f}"


def _pairs_table(found: Mapping[str, Any]) -> Table:
    table = Table(
        "group",
        "accuracy (95 %)",
        "chance",
        "pairs",
        title=f"minimal pairs, {found['pairs_per_second']:,.0f} a second",
    )
    for name, score in (*found["groups"].items(), ("all", found)):
        table.add_row(
            name,
            with_interval(f"{score['accuracy']:.2%}", score["interval"]),
            f"{score['chance']:.0%}",
            f"{score['pairs']:,}",
        )
    return table


def _similarity_table(found: Mapping[str, Any]) -> Table:
    table = Table(
        "embedding",
        "Pearson (95 %)",
        "Spearman",
        title=f"similarity, {found['pairs']:,} pairs, no training",
    )
    for name in ("mean", "cls"):
        score = found[name]
        low, high = score["interval"] or (float("nan"), float("nan"))
        table.add_row(
            name,
            styled(f"{score['pearson']:.4f} ").append(f"({low:.3f} to {high:.3f})", "dim"),
            f"{score['spearman']:.4f}",
        )
    return table
