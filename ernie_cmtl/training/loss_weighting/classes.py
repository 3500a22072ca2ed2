"""Weights by the number of classes: a loss of many starts high."""

import math

from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.task import HeadSpec
from ernie_cmtl.training.loss_weighting._balanced import Balanced


class Classes(Balanced):
    """1 / log(classes), as Muppet has it (Aghajanyan et al. 2021, arXiv 2101.11038): one over the
    loss of a model that knows nothing. 1 for numbers.
    """

    def factors(self) -> dict[str, float]:
        """Return a factor of every loss of the run."""
        return {
            f"{instance.name}/{spec.name}": _factor(spec, instance.task.vocabulary.size)
            for instance in self.instances
            for spec in instance.specs
        }


def _factor(spec: HeadSpec, vocabulary: int) -> float:
    kind = head_kind(spec.kind)
    classes = vocabulary if kind.labels == "token" else spec.classes
    # A single class has no loss to weigh.
    return 1.0 if kind.is_regression or classes < 2 else 1 / math.log(classes)
