"""How far a build is."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Progress:
    """How far a stage is; handed to the reporter after each piece of work."""

    stage: str
    done: int
    total: int
    documents: int = 0


Reporter = Callable[[Progress], None]
