"""Masked-token targets: whole units are chosen, their tokens replaced 80/10/10."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ernie_cmtl.records import MASKED_TOKEN, Example, IntArray, Targets, Vocabulary

_KEEP, _RANDOM = 0.1, 0.1


def add_masked_tokens(
    example: Example,
    vocabulary: Vocabulary,
    rate: float,
    rng: np.random.Generator,
    single_tokens: float = 0.0,
) -> Example:
    """Mask units of an example and add the masked-token targets; an example in which nothing can be
    masked stays as it is.

    single_tokens: the probability that each token counts as a unit of its own (ERNIE 1.0 draws that
    for each pass over a file).
    """
    units = example.unit_starts
    assert units is not None
    if single_tokens and rng.random() < single_tokens:
        units = np.ones_like(units)
    masked = mask_units(example.token_ids, units, vocabulary, rate, rng)
    if masked is None:
        return example
    return replace(
        example, token_ids=masked[0], targets={**example.targets, MASKED_TOKEN: masked[1]}
    )


def choose_units(
    lengths: IntArray, maskable: npt.NDArray[np.bool_], rate: float, rng: np.random.Generator
) -> IntArray:
    """Choose whole units at random until `rate` of the tokens is reached, in the mean exactly; at
    least one.

    lengths: tokens of each unit, int64 [U]; maskable: bool [U]. Returns the chosen units, sorted;
    none if none is maskable.
    """
    (candidates,) = maskable.nonzero()
    if not len(candidates):
        return candidates
    order = rng.permutation(candidates)
    reached = lengths[order].cumsum()
    budget = rate * reached[-1]
    whole = int(reached.searchsorted(budget, side="right"))
    # The unit that crosses the budget comes in with the probability that makes the mean exact.
    if whole < len(order) and rng.random() * lengths[order[whole]] < budget - (
        reached[whole - 1] if whole else 0
    ):
        whole += 1
    return np.sort(order[: max(1, whole)])


def mask_units(
    token_ids: IntArray,
    unit_starts: npt.NDArray[np.uint8],
    vocabulary: Vocabulary,
    rate: float,
    rng: np.random.Generator,
) -> tuple[IntArray, Targets] | None:
    """Mask whole units of a text (ERNIE 1.0, section 3): 80 % [MASK], 10 % a random token, 10 %
    unchanged, drawn a token.

    token_ids: int64 [T]; unit_starts: [T], nonzero where a unit starts. Returns the masked copy and
    the targets, or None when nothing can be masked. A unit that holds a special token is left
    alone.
    """
    begins = unit_starts.astype(bool)
    begins[0] = True
    (firsts,) = begins.nonzero()
    lengths = np.empty_like(firsts)
    lengths[:-1], lengths[-1] = firsts[1:] - firsts[:-1], len(token_ids) - firsts[-1]
    maskable = ~np.logical_or.reduceat(vocabulary.special[token_ids], firsts)
    units = choose_units(lengths, maskable, rate, rng)
    if not len(units):
        return None
    chosen = lengths[units]
    ends = chosen.cumsum()
    positions = (firsts[units] - ends + chosen).repeat(chosen) + np.arange(ends[-1])
    labels = token_ids[positions]
    draw = rng.random(len(positions))
    replaced = np.where(draw < 1 - _KEEP - _RANDOM, vocabulary.mask_id, labels)
    (random,) = (draw >= 1 - _RANDOM).nonzero()
    replaced[random] = vocabulary.ordinary_ids[
        (rng.random(len(random)) * len(vocabulary.ordinary_ids)).astype(np.int64)
    ]
    masked = token_ids.copy()
    masked[positions] = replaced
    return masked, Targets(positions, labels)
