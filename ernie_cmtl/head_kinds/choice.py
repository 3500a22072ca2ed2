"""Which of several sequences of a row is the right one."""

from ernie_cmtl.head_kinds import Head, LinearHead, ReadEncoder
from ernie_cmtl.head_kinds._labels import ClassLabels
from ernie_cmtl.task import HeadSpec


class Choice(ClassLabels):
    """Scores each candidate by itself; the label is the number of the right one."""

    reads_sequence = True
    stock_head = "MultipleChoice"

    def candidates(self, spec: HeadSpec) -> int:
        """One place for each class."""
        return spec.classes

    def build(self, spec: HeadSpec, encoder: ReadEncoder) -> Head:
        """Make a linear layer with one output."""
        return LinearHead(self, encoder, 1)
