"""What predictions are worth, by scikit-learn, scipy and seqeval, and the answer match of SQuAD and
CMRC.
"""

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, Literal

import numpy as np

from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Array

Match = Literal["squad", "cmrc"]


def check_libraries() -> None:
    """Refuse to begin without the libraries that measure.

    Raises:
        UserError: One is not installed; the message names the extra.
    """
    try:
        import scipy.stats  # noqa: F401
        import seqeval.metrics  # noqa: F401
        import sklearn.metrics  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"fine-tuning needs an extra: pip install 'ernie-cmtl[finetune]' ({error})"
        ) from error


def class_scores(gold: Sequence[int], predicted: Sequence[int], classes: int) -> dict[str, float]:
    """Return accuracy, F1 (of the last of two classes, else the mean over classes) and Matthews
    correlation.
    """
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    one: dict[str, Any] = (
        {"average": "binary", "pos_label": 1} if classes == 2 else {"average": "macro"}
    )
    return {
        "accuracy": float(accuracy_score(gold, predicted)),
        "f1": float(f1_score(gold, predicted, zero_division=0, **one)),
        "matthews": float(matthews_corrcoef(gold, predicted)),
    }


def most_frequent(gold: Sequence[int]) -> int:
    """Return the label that is right most often, the smallest of several."""
    return int(np.bincount(np.asarray(gold)).argmax())


def correlations(gold: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """Return Pearson and Spearman correlation, 0 where one side is constant, and the mean squared
    error.
    """
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import mean_squared_error

    constant = len(set(gold)) < 2 or len(set(predicted)) < 2
    found = (
        {}
        if constant
        else {"pearson": pearsonr(gold, predicted)[0], "spearman": spearmanr(gold, predicted)[0]}
    )
    # A correlation with what hardly moves may still not be a number.
    both = {name: float(found.get(name, 0.0)) for name in ("pearson", "spearman")}
    kept = {name: value if math.isfinite(value) else 0.0 for name, value in both.items()}
    return kept | {"mean_squared_error": float(mean_squared_error(gold, predicted))}


def ranking_scores(queries: Sequence[tuple[Array, Array]]) -> dict[str, float]:
    """Return the mean NDCG at 10, NDCG and reciprocal rank; a query is its grades and scores, one
    for each candidate.

    Queries without a relevant candidate are left out. Of candidates with one score, the relevant
    one counts as the last.
    """
    from sklearn.metrics import ndcg_score

    known = [(grades, scores) for grades, scores in queries if (grades > 0).any()]
    if not known:
        return {"ndcg_at_10": 0.0, "mrr": 0.0, "ndcg": 0.0}
    best = [scores[grades > 0].max() for grades, scores in known]
    ranks = [
        int((scores >= top).sum() - (scores[grades > 0] == top).sum() + 1)
        for (grades, scores), top in zip(known, best, strict=True)
    ]
    return {
        "ndcg_at_10": float(
            np.mean([ndcg_score([grades], [scores], k=10) for grades, scores in known])
        ),
        "mrr": float(np.mean([1 / rank for rank in ranks])),
        "ndcg": float(np.mean([ndcg_score([grades], [scores]) for grades, scores in known])),
    }


def label_scores(gold: list[list[str]], predicted: list[list[str]]) -> dict[str, float]:
    """Return F1, precision and recall of whole spans, as seqeval finds them, and accuracy of
    words.
    """
    from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score

    return {
        "f1": float(f1_score(gold, predicted, zero_division=0)),
        "precision": float(precision_score(gold, predicted, zero_division=0)),
        "recall": float(recall_score(gold, predicted, zero_division=0)),
        "accuracy": float(accuracy_score(gold, predicted)),
    }


def answer_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[str], match: Match
) -> dict[str, float]:
    """Return F1 and exact match, each against the best of the answers that a question has."""
    overlap = {"squad": _squad_f1, "cmrc": _cmrc_f1}[match]
    plain = {"squad": normal_words, "cmrc": normal_characters}[match]
    f1 = [
        max(overlap(plain(answer), plain(guess)) for answer in answers)
        for answers, guess in zip(gold, predicted, strict=True)
    ]
    exact = [
        any(plain(answer) == plain(guess) for answer in answers)
        for answers, guess in zip(gold, predicted, strict=True)
    ]
    return {"f1": float(np.mean(f1)), "exact_match": float(np.mean(exact))}


def normal_words(text: str) -> list[str]:
    """Return the words of an answer as SQuAD compares them: small letters, no punctuation, no
    articles.
    """
    bare = "".join(
        character for character in text.lower() if character not in set(string.punctuation)
    )
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def normal_characters(text: str) -> list[str]:
    """Return the units of an answer as CMRC compares them: Chinese characters, words of other
    scripts, no punctuation.
    """
    bare = "".join(
        " " if unicodedata.category(character)[0] in "PS" else character
        for character in text.lower()
    )
    return re.findall(r"[一-龥]|[^\s一-龥]+", bare)


def _squad_f1(gold: list[str], guess: list[str]) -> float:
    return _f1(sum((Counter(gold) & Counter(guess)).values()), len(gold), len(guess))


def _cmrc_f1(gold: list[str], guess: list[str]) -> float:
    """Return F1 by the longest run of units that both have, as the official script of CMRC 2018
    counts.
    """
    common = SequenceMatcher(None, gold, guess, autojunk=False).find_longest_match(
        0, len(gold), 0, len(guess)
    )
    return _f1(common.size, len(gold), len(guess))


def _f1(common: int, gold: int, guess: int) -> float:
    return 2 * common / (gold + guess) if gold and guess else float(gold == guess)
