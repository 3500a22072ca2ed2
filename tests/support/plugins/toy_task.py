"""A task of one's own whose head is of a kind of one's own."""

from dataclasses import replace

from ernie_cmtl.task import HeadSpec
from pretrain_tasks.capitalization import Capitalization


class ToyTask(Capitalization):
    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        return tuple(replace(spec, kind="toy_head") for spec in super().heads)
