"""Minimal pairs: does a model find the good sentence likelier than the bad one, which differs in
one point of grammar?
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.intervals import wilson
from ernie_cmtl.evaluation.masked_lm import MaskedLanguageModel
from ernie_cmtl.evaluation.pseudo_likelihood import pseudo_log_likelihoods

GOOD, BAD = ("good", "sentence_good"), ("bad", "sentence_bad")
GROUP = ("group", "UID", "linguistics_term")
"""Keys of a line, the first of them that is there; the long ones are BLiMP's."""
_AT_ONCE = 2000
"""Pairs whose masked sentences stand in memory at once."""
_CHANCE = 0.5
"""Of two sentences one is good."""


@dataclass(frozen=True)
class Pair:
    """A good and a bad sentence."""

    good: str
    bad: str
    group: str
    place: str
    """File and line, for people."""


def read_pairs(path: Path) -> list[Pair]:
    """Read the pairs of a JSONL file, or of every such file of a folder; a pair without group has
    that of its file's name.

    Raises:
        UserError: There is no pair, or a line is not one.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    pairs = [pair for file in files for pair in _read_file(file)]
    if not pairs:
        raise UserError(f"{path} holds no pair of sentences")
    return pairs


def _read_file(path: Path) -> Iterator[Pair]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _read_pair(line, path.stem, f"{path}, line {number}")


def _read_pair(line: str, group: str, place: str) -> Pair:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise UserError(
            f"{place} is no JSON object with the keys {GOOD[0]!r}, {BAD[0]!r} and {GROUP[0]!r}"
        )
    good, bad = _sentence(values, GOOD, place), _sentence(values, BAD, place)
    if good == bad:
        raise UserError(f"{place}: both sentences are {good!r}")
    return Pair(good, bad, next((str(values[key]) for key in GROUP if key in values), group), place)


def _sentence(values: Mapping[str, Any], keys: Sequence[str], place: str) -> str:
    key = next((key for key in keys if key in values), None)
    if key is None:
        there = ", ".join(values) or "none"
        raise UserError(f"{place} has no key {' or '.join(map(repr, keys))}; it has {there}")
    if not isinstance(values[key], str) or not values[key].strip():
        raise UserError(f"{place}: {key!r} is no sentence: {values[key]!r}")
    return str(values[key])


def judge_pairs(
    judged: MaskedLanguageModel, pairs: Sequence[Pair], rest_of_word: bool = False
) -> dict[str, Any]:
    """Return the share of pairs whose good sentence has the higher pseudo-log-likelihood, over all
    and in each group.

    Keys: `accuracy`, `interval` (Wilson, 95 %), `chance`, `pairs`, `groups` (name -> the same
    four), `pairs_per_second`.

    Raises:
        UserError: The model has no head for masked tokens, or a sentence is too long for it.
    """
    began = time.perf_counter()
    found = accuracy_of(pairs, pair_hits(judged, pairs, rest_of_word))
    return found | {"pairs_per_second": len(pairs) / (time.perf_counter() - began)}


def pair_hits(
    judged: MaskedLanguageModel, pairs: Sequence[Pair], rest_of_word: bool = False
) -> list[bool]:
    """Tell of each pair whether its good sentence has the higher pseudo-log-likelihood.

    Raises:
        UserError: The model has no head for masked tokens, or a sentence is too long for it.
    """
    hits: list[bool] = []
    for first in range(0, len(pairs), _AT_ONCE):
        part = pairs[first : first + _AT_ONCE]
        sentences = [sentence for pair in part for sentence in (pair.good, pair.bad)]
        encoded = judged.encode(sentences, [pair.place for pair in part for _ in range(2)])
        scores = pseudo_log_likelihoods(judged, encoded, rest_of_word)
        hits += [good > bad for good, bad in zip(scores[0::2], scores[1::2], strict=True)]
    return hits


def accuracy_of(pairs: Sequence[Pair], hits: Sequence[bool]) -> dict[str, Any]:
    """Return `accuracy`, `interval`, `chance` and `pairs` over all, and `groups` with the same four
    of each group.
    """
    groups: dict[str, list[bool]] = {}
    for pair, hit in zip(pairs, hits, strict=True):
        groups.setdefault(pair.group, []).append(hit)
    found = _accuracy(hits)
    by_group = {name: _accuracy(hits) for name, hits in sorted(groups.items())}
    return found | {"groups": by_group}


def _accuracy(hits: Sequence[bool]) -> dict[str, Any]:
    share = sum(hits) / len(hits)
    interval = wilson(share, len(hits))
    return {"accuracy": share, "interval": interval, "chance": _CHANCE, "pairs": len(hits)}
