"""Answers as lines of a file: JSON objects, or columns between tabs."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from ernie_cmtl.prediction.predictor import Answer
from ernie_cmtl.printable import json_line, printable

LineFormat = Literal["jsonl", "tsv"]


def answer_lines(answers: Iterable[Answer], form: LineFormat) -> Iterator[str]:
    """Yield a line for each answer, without its line break; of `tsv` a header comes first.

    In `tsv` an object becomes a column for each of its keys, a list becomes its values between
    spaces, and control characters, such as a tab, are written as escapes.
    """
    if form == "jsonl":
        yield from map(json_line, answers)
        return
    for number, answer in enumerate(answers):
        cells = dict(_cells(answer))
        if number == 0:
            yield "\t".join(map(printable, cells))
        yield "\t".join(printable(value) for value in cells.values())


def _cells(answer: Answer) -> Iterator[tuple[str, str]]:
    for name, value in answer.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", _cell(inner)) for key, inner in value.items())
        else:
            yield name, _cell(value)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)
