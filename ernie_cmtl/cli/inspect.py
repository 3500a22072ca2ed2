"""The verb inspect on the command line: examples in colour."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from ernie_cmtl.cli.shared import Json, PluginModules, TaskOptions, add_plugins, print_result
from ernie_cmtl.cli.terminal import styled

if TYPE_CHECKING:
    from ernie_cmtl.verbs.inspect import InspectedSample

EXAMPLE = (
    "Example: ernie-cmtl inspect sentence_reordering --corpus runs/quickstart/corpus segments=4"
)
_COLOURS = ("magenta", "cyan", "yellow", "green", "blue")
"""Of the layers that mark spans, in the corpus's order."""


def inspect(
    task: Annotated[str, typer.Argument(help="Name of a task.", show_default=False)],
    corpus: Annotated[Path, typer.Option(help="Folder of a corpus.")],
    options: TaskOptions = None,
    samples: Annotated[int, typer.Option(min=1, help="Number of examples.")] = 3,
    length: Annotated[int, typer.Option(min=16, help="Row length in tokens.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the samples.")] = 1,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Show samples of a task: sentences, units, input and labels."""
    from ernie_cmtl.config import TaskConfig
    from ernie_cmtl.settings import validate
    from ernie_cmtl.verbs.inspect import inspect as draw

    add_plugins(plugin)
    drawn = draw(corpus, task, validate(TaskConfig, {}, options or [], task), samples, length, seed)
    print_result(
        [sample.as_json() for sample in drawn], as_json, lambda: Group(*map(sample_view, drawn))
    )


def sample_view(sample: "InspectedSample") -> RenderableType:
    """Return the sentences of a sample, its units and spans, the input with its labelled places,
    and the labels.
    """
    lines: list[RenderableType] = [
        Rule(f"sample {sample.number}: tokens {sample.place[0]}-{sample.place[1]}")
    ]
    lines += [styled(sentence, "dim") for sentence in sample.sentences]
    lines.append(_units(sample))
    for number, (name, found) in enumerate(sample.spans.items()):
        marked = styled(" | ".join(found) or "-")
        lines.append(Text.assemble(styled(f"  {name}: ", f"bold {_colour(number)}"), marked))
    if not sample.input:
        return Group(*lines, Text("nothing to predict here", "yellow"))
    labelled = {position for rows in sample.targets.values() for position, _ in rows}
    line = Text("input: ", style="bold")
    for position, token in enumerate(sample.input):
        line.append(styled(token + " ", "bold green" if position in labelled else "white"))
    lines.append(line)
    for head, rows in sample.targets.items():
        line = styled(f"{head} ", "bold")
        for place, label in rows:
            line.append(styled(sample.input[place])).append(f"@{place}", "dim")
            line.append("=").append(styled(label, "cyan")).append("  ")
        lines.append(line)
    return Group(*lines)


def _units(sample: "InspectedSample") -> Text:
    """Show the text cut into units, each knowledge span in the colour of its layer."""
    from ernie_cmtl.data.masking_units import WORD

    line = Text("units: ", style="bold")
    style = ""
    for kind, token in zip(sample.unit_kinds, sample.tokens, strict=True):
        if kind:
            style = f"underline {_colour(kind - WORD - 1)}" if kind > WORD else "dim"
        line.append(styled(token + " ", style))
    return line


def _colour(layer: int) -> str:
    return _COLOURS[layer % len(_COLOURS)]
