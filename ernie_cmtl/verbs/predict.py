"""The verb predict: what a model says of the rows of a file."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ernie_cmtl.prediction.predict import Progress, answer_rows, check_rows, open_predictor
from ernie_cmtl.prediction.predictor import Answer
from ernie_cmtl.verbs.finetune import as_pretrained


def predict(
    model: str,
    path: Path,
    columns: Mapping[str, str],
    receive: Callable[[Iterator[Answer]], None],
    progress: Progress,
    step: int | None = None,
    corpus: Path | None = None,
) -> dict[str, Any]:
    """Answer every row of a file, and return what was done.

    model: folder of a run, an export or a kept model, or a name; columns: role (text, text_pair,
    group) -> name of a column, in place of those of the recipe; receive: takes the answers, one
    for each row, in their order; step, corpus: of a run.

    Raises:
        UserError: The model cannot be loaded, or a row cannot be answered; no answer is given
            before all rows were read.
    """
    with as_pretrained(model, step, corpus) as name:
        predictor = open_predictor(name, columns)
        count = check_rows(predictor, path)
        receive(answer_rows(predictor, path, count, progress))
    about = {"model": model, "kind": predictor.kind, "input": str(path), "rows": count}
    return about | {"columns": dict(predictor.columns)}
