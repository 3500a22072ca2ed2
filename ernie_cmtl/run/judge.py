"""What a run or a model of transformers is worth without further training: held-out tasks, minimal pairs, similarity."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_cmtl.corpus.read.tables import read_rows
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.judged import load_judged
from ernie_cmtl.evaluation.minimal_pairs import judge_pairs, read_pairs
from ernie_cmtl.evaluation.similarity import judge_similarity, scored_pairs
from ernie_cmtl.run.saved import evaluate_run, judged_run


@dataclass(frozen=True)
class Measures:
    """What to judge a model on, beside the held-out tasks of a run."""

    minimal_pairs: Path | None = None
    rest_of_word: bool = False
    """Mask with each token of a minimal pair those after it in its word."""
    sts: Path | None = None
    sources: bool = True
    """Measure the held-out tasks for each source of the text too."""


def judge(name: str, step: int | None, corpus: Path | None, settings: Sequence[str], measures: Measures) -> dict[str, Any]:
    """Judge a run folder, or a model of transformers by its name or folder.

    Raises:
        UserError: It is neither, a file is not what it should be, or an option does not go with a model that is no run.
    """
    pairs = read_pairs(measures.minimal_pairs) if measures.minimal_pairs else None
    scored = scored_pairs(read_rows(measures.sts, None), measures.sts) if measures.sts else None
    folder = Path(name)
    is_run = (folder / "config.yaml").is_file() or not (pairs or scored)
    if not is_run and (settings or corpus or step is not None):
        raise UserError(f"{name} is no run folder: it takes no --step, --corpus or settings")
    result: dict[str, Any] = evaluate_run(folder, step, corpus, settings, measures.sources) if is_run else {"model": name}
    if pairs or scored:
        judged = judged_run(folder, step) if is_run else load_judged(name)
        if pairs:
            result["minimal_pairs"] = judge_pairs(judged, pairs, measures.rest_of_word)
        if scored:
            result["sts"] = judge_similarity(judged, scored)
    return result
