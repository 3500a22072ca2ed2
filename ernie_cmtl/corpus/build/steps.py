"""What the steps of a build share: the request, the seconds that each took, and the progress that
is reported.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ernie_cmtl.corpus.build.progress import Progress, Reporter
from ernie_cmtl.corpus.build.request import Request, changed_files
from ernie_cmtl.corpus.store.manifest import Shard
from ernie_cmtl.corpus.tokens.tokenizer import TokenizerFacts
from ernie_cmtl.errors import UserError


@dataclass
class Build:
    """What the steps of a build share."""

    request: Request
    report: Reporter
    asked: dict[str, Any]
    """What the request was when the build began, with a stamp of every file."""
    seconds: dict[str, float] = field(default_factory=dict)
    tokenizer: TokenizerFacts | None = None
    """None where it was made before this build, or before a break."""

    @property
    def folder(self) -> Path:
        """Folder of the corpus."""
        return self.request.folder

    @property
    def base_shards(self) -> list[Shard]:
        """Shards of the corpus that is added to."""
        return self.request.base.shards if self.request.base else []

    @contextmanager
    def step(self, name: str, total: int = 0, documents: int = 0) -> Iterator[None]:
        """Report that a step begins, and keep how long it took."""
        start = time.perf_counter()
        self.report(Progress(name, 0, total, documents))
        yield
        self.seconds[name] = time.perf_counter() - start

    def tell(self, stage: str, total: int, done: int, documents: int) -> None:
        """Report how far a step has come, in bytes and documents."""
        self.report(Progress(stage, done, total, documents))

    def changed(self) -> UserError | None:
        """Say which input is not what it was when the build began, if one is."""
        names = changed_files(self.asked, self.request)
        what = (
            f"{', '.join(names)} was changed or removed while the corpus was built; start again "
            "with --restart"
        )
        return UserError(what) if names else None
