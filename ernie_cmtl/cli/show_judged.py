"""What people see of a judged run or model."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from ernie_cmtl.cli.show_run import interval_text, retention_tables, score_table


def judged_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables of what `run.judge.judge` returned."""
    if "heldout" in result:
        title = f"{result['run']}, step {result['step']}, corpus {result['corpus']}"
        yield score_table(title, result["heldout"])
        for name, scores in result["sources"].items():
            yield score_table(f"source {name}", scores)
        yield from retention_tables(result["retention"])
    if "minimal_pairs" in result:
        yield _pairs_table(result["minimal_pairs"])
    if "sts" in result:
        yield _similarity_table(result["sts"])


def _pairs_table(found: Mapping[str, Any]) -> Table:
    table = Table("group", "accuracy (95 %)", "pairs", title=f"minimal pairs, {found['pairs_per_second']:,.0f} a second")
    for name, score in (*found["groups"].items(), ("all", found)):
        table.add_row(escape(name), f"{score['accuracy']:.2%} {interval_text(score['interval'])}", f"{score['pairs']:,}")
    return table


def _similarity_table(found: Mapping[str, Any]) -> Table:
    table = Table("embedding", "Pearson (95 %)", "Spearman", title=f"similarity, {found['pairs']:,} pairs, no training")
    for name in ("mean", "cls"):
        score = found[name]
        low, high = score["interval"] or (float("nan"), float("nan"))
        table.add_row(name, f"{score['pearson']:.4f} [dim]({low:.3f} to {high:.3f})[/]", f"{score['spearman']:.4f}")
    return table
