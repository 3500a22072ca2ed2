"""Which documents are held out."""

import heapq
from dataclasses import dataclass, field

from ernie_cmtl.corpus.build.digests import split_hash

_HASHES = 1 << 64


@dataclass
class HeldoutRule:
    """Which documents of one source are held out: those with the smallest split hashes."""

    fraction: float
    minimum: int
    used: int = 0
    _below_fraction: int = 0
    _smallest: list[int] = field(default_factory=list)

    def add(self, digest: bytes) -> None:
        """Count a document."""
        found = split_hash(digest)
        self.used += 1
        self._below_fraction += found < int(self.fraction * _HASHES)
        heapq.heappush(self._smallest, -found)
        if len(self._smallest) > self.minimum:
            heapq.heappop(self._smallest)

    @property
    def below(self) -> int:
        """Documents whose split hash is below are held out."""
        # A small source still holds something out, but never more than a quarter.
        wanted = min(self.minimum, self.used // 4)
        below = sorted(-found for found in self._smallest)[wanted - 1] + 1 if wanted else 0
        return (
            max(below, int(self.fraction * _HASHES))
            if self._below_fraction <= self.used // 4
            else below
        )
