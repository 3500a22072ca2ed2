"""A number for a sequence."""

from ernie_cmtl.head_kinds._labels import NumberLabels


class SequenceRegression(NumberLabels):
    """A number for a sequence."""

    reads_sequence = True
    stock_head = "SequenceClassification"
