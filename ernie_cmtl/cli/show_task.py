"""What people see of a task: examples in colour."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.rule import Rule
from rich.text import Text

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.data.units import WORD, knowledge_units, span_places
from ernie_cmtl.records import MASKED_TOKEN, AnnotatedText, Example

_COLOURS = ("magenta", "cyan", "yellow", "green", "blue")
"""Of the layers that mark spans, in the corpus's order."""


def show_example(corpus: Corpus, stream: SampleStream, number: int) -> tuple[dict[str, Any], RenderableType]:
    """Return one sample, its sentences, input and labels, as plain values and as people read it."""
    place, example = stream.source(number), stream.example(number)
    spans = tuple(name for name in corpus.manifest.spans if name in stream.instance.task.available_layers)
    text = stream.corpus.passage(*place, ("word_starts", *spans))
    tokens = [str(token) for token in corpus.tokenizer.convert_ids_to_tokens(text.token_ids.tolist())]
    sentences = [" ".join(tokens[a:b]) for a, b in pairwise(text.sentence_offsets)]
    lines: list[RenderableType] = [Rule(f"sample {number}: tokens {place[0]}-{place[1]}")]
    lines += [Text(sentence, style="dim") for sentence in sentences]
    lines.append(_units(text, spans, tokens))
    marked = _spans(text, tokens, spans)
    for number, (name, found) in enumerate(marked.items()):
        lines.append(
            Text(f"  {name}: ", style=f"bold {_COLOURS[number % len(_COLOURS)]}").append(" | ".join(found) or "-", style="none")
        )
    plain: dict[str, Any] = {"sentences": sentences, "spans": marked, "input": [], "targets": {}}
    if example is None:
        lines.append("[yellow]nothing to predict here[/]")
        return plain, Group(*lines)
    shown = [str(token) for token in corpus.tokenizer.convert_ids_to_tokens(example.token_ids.tolist())]
    labels = _labels(corpus, stream, example)
    labelled = {position for rows in labels.values() for position, _ in rows}
    line = Text("input: ", style="bold")
    for position, token in enumerate(shown):
        line.append(token + " ", style="bold green" if position in labelled else "white")
    lines.append(line)
    for head, rows in labels.items():
        cells = (f"{escape(shown[p])}[dim]@{p}[/]=[cyan]{escape(label)}[/]" for p, label in rows)
        lines.append(f"[bold]{head}[/] " + "  ".join(cells))
    return plain | {"input": shown, "targets": labels}, Group(*lines)


def _spans(text: AnnotatedText, tokens: list[str], layers: Sequence[str]) -> dict[str, list[str]]:
    """Return the knowledge spans that each layer marks in a passage."""
    places = {name: zip(*span_places(text.layers[name]), strict=True) for name in layers}
    return {name: [" ".join(tokens[start:stop]) for start, stop in found] for name, found in places.items()}


def _units(text: AnnotatedText, spans: Sequence[str], tokens: list[str]) -> Text:
    """Show the text cut into units, each knowledge span in the colour of its layer."""
    line = Text("units: ", style="bold")
    style = ""
    for kind, token in zip(knowledge_units(text, spans).tolist(), tokens, strict=True):
        if kind:
            style = f"underline {_COLOURS[(kind - WORD - 1) % len(_COLOURS)]}" if kind > WORD else "dim"
        line.append(token + " ", style=style)
    return line


def _labels(corpus: Corpus, stream: SampleStream, example: Example) -> dict[str, list[tuple[int, str]]]:
    found: dict[str, list[tuple[int, str]]] = {}
    for spec in stream.instance.specs:
        if targets := example.targets.get(spec.name):
            values = targets.labels.tolist()
            if spec.name == MASKED_TOKEN:
                values = corpus.tokenizer.convert_ids_to_tokens(values)
            elif spec.class_names and not spec.multi_label:
                values = [spec.class_names[value] for value in values]
            elif spec.kind.endswith("regression"):
                values = [f"{value:.3g}" for value in values]
            positions = targets.positions.reshape(len(values), -1)[:, 0].tolist()
            found[spec.name] = list(zip(positions, map(str, values), strict=True))
    return found
