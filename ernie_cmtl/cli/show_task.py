"""What people see of a task: examples in colour."""

from itertools import pairwise
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.rule import Rule
from rich.text import Text

from ernie_cmtl.corpus.store import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.records import MASKED_TOKEN, AnnotatedText, Example


def show_example(corpus: Corpus, stream: SampleStream, number: int) -> tuple[dict[str, Any], RenderableType]:
    """Return one sample, its sentences, input and labels, as plain values and as people read it."""
    place, example = stream.source(number), stream.example(number)
    text = stream.corpus.passage(*place, tuple(corpus.manifest.layers))
    tokens = [str(token) for token in corpus.tokenizer.convert_ids_to_tokens(text.token_ids.tolist())]
    sentences = [" ".join(tokens[a:b]) for a, b in pairwise(text.sentence_offsets)]
    lines: list[RenderableType] = [Rule(f"sample {number}: tokens {place[0]}-{place[1]}")]
    lines += [Text(sentence, style="dim") for sentence in sentences]
    lines.append(_units(text, tokens))
    if example is None:
        lines.append("[yellow]nothing to predict here[/]")
        return {"sentences": sentences, "input": [], "targets": {}}, Group(*lines)
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
    return {"sentences": sentences, "input": shown, "targets": labels}, Group(*lines)


def _units(text: AnnotatedText, tokens: list[str]) -> Text:
    """Show the knowledge units: collocations underlined."""
    line = Text("units: ", style="bold")
    style = ""
    for kind, token in zip(text.layers["unit_starts"], tokens, strict=True):
        style = "underline magenta" if kind == 2 else "dim" if kind == 1 else style
        line.append(token + " ", style=style)
    return line


def _labels(corpus: Corpus, stream: SampleStream, example: Example) -> dict[str, list[tuple[int, str]]]:
    found: dict[str, list[tuple[int, str]]] = {}
    for spec in stream.instance.task.heads:
        if targets := example.targets.get(spec.name):
            values = targets.labels.tolist()
            if spec.name == MASKED_TOKEN:
                values = corpus.tokenizer.convert_ids_to_tokens(values)
            elif spec.class_names and not spec.multi_label:
                values = [spec.class_names[value] for value in values]
            positions = targets.positions.reshape(len(values), -1)[:, 0].tolist()
            found[spec.name] = list(zip(positions, map(str, values), strict=True))
    return found
