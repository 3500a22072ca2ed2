"""A class for a sequence."""

from ernie_cmtl.head_kinds._labels import ClassLabels


class SequenceClass(ClassLabels):
    """A class for a sequence."""

    reads_sequence = True
    stock_head = "SequenceClassification"
