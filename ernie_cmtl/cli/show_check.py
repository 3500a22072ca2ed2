"""What people see of a checked task."""

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from ernie_cmtl.evaluation.leaks import Leak
from ernie_cmtl.evaluation.task_check import TaskCheck


def check_view(result: TaskCheck) -> RenderableType:
    """Return the tables of a check, what failed in red, and one line of judgement."""
    contract = Table("rule", "", "found", title=f"{result['task']}: contract")
    for rule in result["contract"]:
        words = (rule["name"], "kept" if rule["passed"] else "broken", escape(rule["detail"]))
        contract.add_row(*words, style=None if rule["passed"] else "red")
    made = ", ".join(f"{count:,} {split}" for split, count in result["samples"].items())
    speed = f"samples: {made}; {result['tokens_per_second']:,.0f} tokens/s on one core"
    reasons = "; ".join(failures(result))
    verdict = f"[red bold]failed[/]: {escape(reasons)}" if reasons else "[green bold]passed[/]"
    return Group(contract, _balance(result), _leaks(result), speed, verdict)


def failures(result: TaskCheck) -> Iterator[str]:
    """Yield a phrase for each thing that makes a check fail."""
    for rule in result["contract"]:
        if not rule["passed"]:
            yield f"{rule['name']}: {rule['detail']}"
    for leak in result["leaks"]:
        if leak["leaks"] and leak["allowed"] is None:
            yield f"{leak['baseline']} solves {leak['head']}: {_value(leak)} against {leak['chance']:.1%}"


def _value(leak: Leak) -> str:
    return f"R2 {leak['accuracy']:.1%}" if leak["measure"] == "r2" else f"{leak['accuracy']:.1%}"


def _leaks(result: TaskCheck) -> Table:
    table = Table("head", "baseline", "held out", "chance", "labels", "", title="baselines")
    for leak in result["leaks"]:
        style, word = None, ""
        if leak["leaks"]:
            style, word = ("red", "leaks") if leak["allowed"] is None else ("yellow", f"by nature: {leak['allowed']}")
        numbers = (_value(leak), f"{leak['chance']:.1%}", f"{leak['samples']:,}")
        table.add_row(leak["head"], leak["baseline"], *numbers, escape(word), style=style)
    return table


def _balance(result: TaskCheck) -> Table:
    table = Table("head", "labels", "spread", title="labels")
    for head, found in result["balance"].items():
        table.add_row(head, f"{found['labels']:,}", escape(spread(found)))
    return table


def spread(found: dict[str, Any]) -> str:
    """Return in words how labels are spread."""
    if "classes" in found:
        return ", ".join(f"{name} {share:.1%}" for name, share in found["classes"].items())
    if "mean" in found:
        quantiles = ", ".join(f"{quantile}: {value:.3g}" for quantile, value in found["quantiles"].items())
        return f"mean {found['mean']:.3g}, deviation {found['deviation']:.3g}, quantiles {quantiles}"
    if "distinct" in found:
        return f"{found['distinct']:,} distinct, {found['labels_per_sample']:.1f} a sample"
    return "-"
