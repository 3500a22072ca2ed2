"""A class for each labelled token."""

from ernie_cmtl.head_kinds._labels import ClassLabels


class TokenClass(ClassLabels):
    """A class for each labelled token."""

    stock_head = "TokenClassification"
