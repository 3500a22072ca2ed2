"""Files and datasets -> labelled rows by split, each with the place where it stands."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_cmtl.corpus.read.compression import has_ending
from ernie_cmtl.corpus.read.hub_datasets import PREFIX, dataset_rows, parse_dataset
from ernie_cmtl.corpus.read.rows import BadRow
from ernie_cmtl.corpus.read.tables import TEXT_LINES, read_rows, text_lines
from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.sets.recipe import ColumnsConfig, RowsConfig, Source
from ernie_cmtl.randomness import derive_key

Splits = dict[str, list["LabelledRow"]]


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A row with the values that a recipe names, as they were read."""

    place: str
    """File and line, for messages."""
    text: Any
    text_pair: Any
    label: Any
    group: Any

    def sentence(self, value: object) -> str:
        """Return a value as text.

        Raises:
            UserError: It is none.
        """
        if not isinstance(value, str):
            raise UserError(f"{self.place}: {value!r} is no text")
        return value


def read_splits(config: RowsConfig, columns: ColumnsConfig, folder: Path) -> Splits:
    """Read the rows of the splits `train`, `dev` and `test`, those of them that a recipe has.

    folder: what names of files are relative to.

    Raises:
        UserError: A file is not there, is empty or damaged, lacks a column, or has a row with too
            few or too many fields.
    """
    splits = {"train": _read(config.train, columns, folder)}
    parts = {}
    for name, wanted in (("dev", config.dev), ("test", config.test)):
        if isinstance(wanted, float):
            parts[name] = wanted
        elif wanted is not None:
            splits[name] = _read(wanted, columns, folder)
    return splits | _cut_off(splits["train"], parts) if parts else splits


def _cut_off(rows: Sequence[LabelledRow], parts: dict[str, float]) -> Splits:
    """Return the training rows in parts; which part a group belongs to depends on its value
    alone.
    """
    groups = {row.place: str(row.text if row.group is None else row.group) for row in rows}
    order = sorted(set(groups.values()), key=lambda group: derive_key("split", group))
    split_of: dict[str, str] = {}
    for name, part in parts.items():
        count = max(1, round(part * len(order)))
        split_of |= dict.fromkeys(order[len(split_of) : len(split_of) + count], name)
    found: Splits = {name: [] for name in ("train", *parts)}
    for row in rows:
        found[split_of.get(groups[row.place], "train")].append(row)
    if empty := [name for name, kept in found.items() if not kept]:
        raise UserError(
            f"{rows[0].place}: there are too few groups of rows ({len(order)}) to cut off a part; "
            f"{empty[0]} is empty"
        )
    return found


def _read(source: Source, columns: ColumnsConfig, folder: Path) -> list[LabelledRow]:
    rows: list[LabelledRow] = []
    for name in (source,) if isinstance(source, str) else source:
        found = list(_rows_of(name, columns.model_dump(exclude_none=True), folder))
        if not found:
            raise UserError(f"{name if name.startswith(PREFIX) else folder / name} holds no row")
        rows += found
    return rows


def read_unlabelled(path: Path, columns: Mapping[str, str]) -> Iterator[LabelledRow]:
    """Yield the rows of a file, whose labels are not read.

    columns: role (text, text_pair, group) -> name of the column. A line of a `.txt` is a text.

    Raises:
        UserError: The file is not there or damaged, lacks a column, or has a bad row; the message
            names the row.
    """
    if not has_ending(path, TEXT_LINES):
        yield from _rows_of(str(path), columns, Path())
        return
    if missing := [name for role, name in columns.items() if role != "text"]:
        raise UserError(
            f"{path}: a line of a .txt is one text, and column {missing[0]!r} is needed too; "
            "name a .tsv, .csv or .jsonl"
        )
    for number, line in text_lines(path):
        yield LabelledRow(f"{path}, line {number}", line, None, None, None)


def _rows_of(name: str, named: Mapping[str, str], folder: Path) -> Iterator[LabelledRow]:
    wanted = list(dict.fromkeys(named.values()))
    for place, values in _placed_values(name, wanted, folder):
        if empty := [column for column in wanted if values[column] is None]:
            raise UserError(f"{place}: there is no value for {empty[0]!r}")
        yield LabelledRow(
            place,
            *(
                values[named[role]] if role in named else None
                for role in ColumnsConfig.model_fields
            ),
        )


def _placed_values(
    name: str, wanted: list[str], folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the values of each row with its place."""
    if name.startswith(PREFIX):
        source = parse_dataset(name)
        for row in dataset_rows(source, wanted):
            if isinstance(row, BadRow):
                raise UserError(f"{source.label}, row {row.number}: {row.detail}")
            yield f"{source.label}, row {row[0]}", row[1]
        return
    path = folder / name
    if path.suffix.lower() == ".json":
        yield from _questions(path, wanted)
        return
    kind = "row" if path.suffix.lower() == ".parquet" else "line"
    for number, values in read_rows(path, wanted):
        yield f"{path}, {kind} {number}", values


def _questions(path: Path, wanted: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the questions of a file in the nested layout of SQuAD, with title and passage."""
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        questions = [
            {"title": article.get("title"), "context": paragraph["context"]} | question
            for article in articles
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ]
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no file of SQuAD: data, paragraphs, context and qas; {error!r}"
        ) from error
    for number, question in enumerate(questions, 1):
        place = f"{path}, question {question.get('id', number)}"
        if missing := [column for column in wanted if column not in question]:
            raise UserError(f"{place} has no {missing[0]!r}; its keys: {', '.join(question)}")
        yield place, question
