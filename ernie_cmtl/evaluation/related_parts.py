"""Which tasks of a group stay together, by the cosines of their gradients."""

from collections.abc import Mapping, Sequence
from statistics import mean

Cosine = Mapping[str, Mapping[str, float | None]]


def related_parts(tasks: Sequence[str], cosine: Cosine, threshold: float) -> list[list[str]]:
    """Return the parts of a group by average linkage: the two parts with the highest mean cosine
    become one, as long as it is at least the threshold.

    A task of which no cosine is known stays in the first part: nothing says that it should leave.

    cosine: task -> other task -> cosine of their gradients; None where it is not known.
    """
    known = [task for task in tasks if any(cosine[task][o] is not None for o in tasks if o != task)]
    parts = [[task] for task in known]
    while len(parts) > 1:
        means = {
            (one, other): mean(_known(cosine, parts[one], parts[other]))
            for one in range(len(parts))
            for other in range(one + 1, len(parts))
        }
        one, other = max(means, key=means.__getitem__)
        if means[one, other] < threshold:
            break
        parts[one] += parts.pop(other)
    placed = {task: number for number, part in enumerate(parts) for task in part}
    found: list[list[str]] = [[] for _ in range(max(1, len(parts)))]
    for task in tasks:
        found[placed.get(task, 0)].append(task)
    return found


def _known(cosine: Cosine, one: Sequence[str], other: Sequence[str]) -> list[float]:
    """Return the cosines between two parts; two tasks that are known are known as a pair."""
    pairs = [cosine[task][second] for task in one for second in other]
    return [value for value in pairs if value is not None]
