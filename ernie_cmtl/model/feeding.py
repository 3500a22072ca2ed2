"""What low tasks predict goes up, as label embeddings, to the tasks above them:
h += softmax(scores) E, with E zero at first (Hashimoto et al. 2017, section 2).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.model.kernels.packed_attention import to_device
from ernie_cmtl.model.routing import sequence_places
from ernie_cmtl.model.sharing import SharingTable
from ernie_cmtl.records import Batch, IntArray
from ernie_cmtl.task import HeadSpec


def feeds(spec: HeadSpec) -> bool:
    """Tell whether what a head predicts can go up: classes that are the same in each example."""
    kind = head_kind(spec.kind)
    return kind.labels == "class" and kind.candidates(spec) is None


@dataclass(frozen=True)
class Feed:
    """A head whose predictions go up."""

    head: str
    level: int
    receivers: tuple[int, ...]
    """Tasks of higher levels that have heads of their own."""
    whole_sequence: bool
    """It predicts one class for a sequence, which goes to the first place."""


def feeds_of(
    heads: Mapping[str, HeadSpec], tasks: Mapping[str, int], table: SharingTable
) -> list[Feed]:
    """Return the heads whose predictions go up, the lowest first.

    heads: of the run; tasks: name -> number. A task without heads of its own, which only masks, is
    never fed: its view of the encoder stays that of a stock class.
    """
    if not table.feeds:
        return []
    owners = {name: tasks[name.partition("/")[0]] for name in heads if "/" in name}
    found = []
    for name, task in owners.items():
        level = table.levels[task]
        if level is None or not feeds(heads[name]):
            continue
        receivers = tuple(
            other
            for other in sorted(set(owners.values()))
            if (above := table.levels[other]) is None or above > level
        )
        if receivers:
            whole = head_kind(heads[name].kind).reads_sequence
            found.append(Feed(name, level, receivers, whole))
    return sorted(found, key=lambda feed: feed.level)


def label_embeddings(
    fed: list[Feed], heads: Mapping[str, HeadSpec], hidden: int
) -> nn.ParameterDict:
    """Return a vector of zeros for each class of each head that feeds; [classes, hidden]."""
    return nn.ParameterDict(
        {feed.head: nn.Parameter(torch.zeros(heads[feed.head].classes, hidden)) for feed in fed}
    )


def fed_places(batch: Batch, fed: list[Feed], device: torch.device) -> dict[str, Tensor]:
    """Return the places of a batch to which each head feeds; int64 [N]."""
    return {feed.head: to_device(_places(batch, feed), device) for feed in fed}


def _places(batch: Batch, feed: Feed) -> IntArray:
    members = np.flatnonzero(np.isin(batch.sequence_tasks, feed.receivers))
    starts, lengths = batch.sequence_starts[members], batch.sequence_lengths[members]
    return starts if feed.whole_sequence else sequence_places(starts, lengths)
