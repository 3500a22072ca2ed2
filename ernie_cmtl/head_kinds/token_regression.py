"""A number for each labelled token."""

from ernie_cmtl.head_kinds._labels import NumberLabels


class TokenRegression(NumberLabels):
    """A number for each labelled token."""
