"""Where the last layer of an encoder is read, and what an encoder makes of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ernie_cmtl.model.kernels.packed_attention import to_device
from ernie_cmtl.model.tensor_batch import BatchSlice
from ernie_cmtl.records import IntArray


@dataclass(frozen=True)
class ReadPlaces:
    """Where the last layer is read."""

    # Not a keyword by itself, for which the last layer would be compiled anew each time.
    places: Tensor
    """In the flattened batch, the same one possibly more than once; int64 [N]."""
    on_host: IntArray
    """The same, for what is decided without waiting for the device."""

    def of(self, states: Tensor) -> Tensor:
        """Return the states of these places; [M, L, hidden] -> [1, N, hidden]."""
        return states.flatten(0, 1).index_select(0, self.places)[None]

    def by_slice(self, slices: Sequence[BatchSlice]) -> tuple[list["ReadPlaces"], Tensor]:
        """Return the places within each slice, its first place before them, and where the places
        stand in all of these; int64 [N].
        """
        edges = [part.start for part in slices]
        owner = np.searchsorted(edges, self.on_host, side="right") - 1
        back = np.empty_like(self.on_host)
        found, before = [], 0
        for number, start in enumerate(edges):
            members = np.flatnonzero(owner == number)
            # The layers of a slice run even if nobody reads it, as every worker reduces the same.
            inside = np.concatenate([[0], self.on_host[members] - start])
            back[members] = before + 1 + np.arange(len(members))
            before += len(inside)
            found.append(ReadPlaces(to_device(inside, self.places.device), inside))
        return found, to_device(back, self.places.device)


@dataclass(frozen=True)
class EncodedBatch:
    """What an encoder makes of a batch."""

    last: Tensor
    """States of the last layer: of the places that are read, [1, N, hidden]; of all places, [M, L,
    hidden].
    """
    inner: Sequence[Tensor]
    """What a head reads of the embeddings and of each layer below the last; [M, L, hidden] each,
    empty unless asked for.
    """
    unread: Tensor
    """A zero that depends on the parameters which a batch may leave out, so that workers reduce the
    same gradients.
    """
