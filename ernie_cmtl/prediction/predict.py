"""Rows of a file -> one answer each, in their order."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kinds.ranking import query_name
from ernie_cmtl.finetuning.sets.rows import read_unlabelled
from ernie_cmtl.prediction.embeddings import Embeddings
from ernie_cmtl.prediction.fine_tuned import FineTuned, kinds_of
from ernie_cmtl.prediction.predictor import Answer, Predictor
from ernie_cmtl.pretrained.config import read_config

ROWS_AT_ONCE = 1024
"""Rows whose answers stand in memory at once, but for rankings."""
Progress = Callable[[int, int], None]
"""Is told how many rows are answered, of how many."""


def open_predictor(name: str, columns: Mapping[str, str]) -> Predictor:
    """Load a model by its name or folder; what it gives follows from its class and from the
    `finetuning.json` beside it.

    columns: role (text, text_pair, group) -> name of a column, in place of those of its recipe.

    Raises:
        UserError: It cannot be loaded, or a role is none that it reads.
    """
    config = read_config(name, f"model {name!r}")
    return (FineTuned if kinds_of(config) else Embeddings)(name, config, columns)


def check_rows(predictor: Predictor, path: Path) -> int:
    """Read all rows of a file, and return how many there are.

    Raises:
        UserError: There is none, or one cannot be answered.
    """
    count = 0
    for row in read_unlabelled(path, predictor.columns):
        predictor.check(row)
        count += 1
    if not count:
        raise UserError(f"{path} holds no row")
    return count


def answer_rows(
    predictor: Predictor, path: Path, count: int, progress: Progress
) -> Iterator[Answer]:
    """Yield an answer for each row of a file; count: how many there are.

    Of rankings, `rank` is the place of a row among those of its query, from 1; of equal scores the
    earlier row comes first.
    """
    answers = _answers(predictor, path, count, progress)
    if not predictor.ranks:
        yield from (answer for _, answer in answers)
        return
    found = list(answers)
    queries: dict[str, list[Answer]] = {}
    for query, answer in found:
        queries.setdefault(query, []).append(answer)
    for members in queries.values():
        ordered = sorted(members, key=lambda answer: -float(answer["score"]))
        for rank, answer in enumerate(ordered, 1):
            answer["rank"] = rank
    yield from (answer for _, answer in found)


def _answers(
    predictor: Predictor, path: Path, count: int, progress: Progress
) -> Iterator[tuple[str, Answer]]:
    """Yield the answer to each row with the name of its query."""
    done, remaining = 0, read_unlabelled(path, predictor.columns)
    while rows := list(islice(remaining, ROWS_AT_ONCE)):
        for row, answer in zip(rows, predictor.answers(rows), strict=True):
            yield query_name(row), answer
        done += len(rows)
        progress(done, count)
