"""The verb tasks check on the command line."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from ernie_cmtl.cli.score_tables import share_text
from ernie_cmtl.cli.shared import Json, PluginModules, TaskOptions, add_plugins, print_result
from ernie_cmtl.cli.tables import Table
from ernie_cmtl.cli.terminal import styled

if TYPE_CHECKING:
    from ernie_cmtl.task_checks.check import TaskCheck
    from ernie_cmtl.task_checks.leaks import Leak

FAILED = 1
EXAMPLE = (
    "Example: ernie-cmtl tasks check sentence_reordering --corpus runs/quickstart/corpus "
    "--length 128 segments=4. Exit code 0: passed; 1: failed."
)


def tasks_check(
    task: Annotated[str, typer.Argument(help="Name of a task.", show_default=False)],
    corpus: Annotated[Path, typer.Option(help="Folder of a corpus.")],
    options: TaskOptions = None,
    length: Annotated[int, typer.Option(min=16, help="Row length in tokens.")] = 512,
    samples: Annotated[
        int, typer.Option(min=2, help="Number of training samples; half as many held-out samples.")
    ] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the samples.")] = 1,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Validate a task: contract, label balance, and whether trivial baselines can solve it."""
    from ernie_cmtl.config import TaskConfig
    from ernie_cmtl.corpus.store.corpus import Corpus
    from ernie_cmtl.settings import validate
    from ernie_cmtl.verbs.tasks_check import tasks_check as check_task

    add_plugins(plugin)
    settings = validate(TaskConfig, {}, options or [], task)
    result = check_task(Corpus(corpus), task, settings, length, samples, seed)
    print_result(result, as_json, lambda: check_view(result))
    if not result["passed"]:
        raise typer.Exit(FAILED)


def check_view(result: "TaskCheck") -> RenderableType:
    """Return the tables of a check, what failed in red, and one line of judgement."""
    contract = Table("rule", "", "found", title=f"{result['task']}: contract")
    for rule in result["contract"]:
        words = (rule["name"], "kept" if rule["passed"] else "broken", rule["detail"])
        contract.add_row(*words, style="" if rule["passed"] else "red")
    made = ", ".join(f"{count:,} {split}" for split, count in result["samples"].items())
    speed = f"samples: {made}; {result['tokens_per_second']:,.0f} tokens/s on one core"
    reasons = "; ".join(failures(result))
    verdict = (
        styled("failed", "red bold").append(styled(f": {reasons}"))
        if reasons
        else Text("passed", "green bold")
    )
    remarks = (styled(remark, "yellow") for remark in result["remarks"])
    return Group(contract, _balance(result), _leaks(result), *remarks, speed, verdict)


def failures(result: "TaskCheck") -> Iterator[str]:
    """Yield a phrase for each thing that makes a check fail."""
    for rule in result["contract"]:
        if not rule["passed"]:
            yield f"{rule['name']}: {rule['detail']}"
    for leak in result["leaks"]:
        if leak["leaks"] and leak["allowed"] is None:
            yield (
                f"{leak['baseline']} solves {leak['head']}: {_value(leak)} against "
                f"{leak['chance']:.1%}"
            )


def _value(leak: "Leak") -> str:
    return f"R2 {leak['accuracy']:.1%}" if leak["measure"] == "r2" else f"{leak['accuracy']:.1%}"


def _leaks(result: "TaskCheck") -> Table:
    table = Table("head", "baseline", "held out", "chance", "labels", "", title="baselines")
    for leak in result["leaks"]:
        style, word = "", ""
        if leak["leaks"]:
            style, word = (
                ("red", "leaks")
                if leak["allowed"] is None
                else ("yellow", f"by nature: {leak['allowed']}")
            )
        numbers = (_value(leak), f"{leak['chance']:.1%}", f"{leak['samples']:,}")
        table.add_row(leak["head"], leak["baseline"], *numbers, word, style=style)
    return table


def _balance(result: "TaskCheck") -> Table:
    table = Table("head", "labels", "majority", "spread", title="labels")
    for head, found in result["balance"].items():
        majority = share_text(found.get("majority"))
        table.add_row(head, f"{found['labels']:,}", majority, spread(found))
    return table


def spread(found: dict[str, Any]) -> str:
    """Return in words how labels are spread."""
    if "classes" in found:
        return ", ".join(f"{name} {share:.1%}" for name, share in found["classes"].items())
    if "mean" in found:
        quantiles = ", ".join(
            f"{quantile}: {value:.3g}" for quantile, value in found["quantiles"].items()
        )
        return (
            f"mean {found['mean']:.3g}, deviation {found['deviation']:.3g}, quantiles {quantiles}"
        )
    if "distinct" in found:
        return f"{found['distinct']:,} distinct, {found['labels_per_sample']:.1f} a sample"
    return "-"
