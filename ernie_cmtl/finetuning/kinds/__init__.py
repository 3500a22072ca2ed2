"""Kinds of labelled sets by name."""

from ernie_cmtl.finetuning.kinds.classification import Classification
from ernie_cmtl.finetuning.kinds.kind import Kind
from ernie_cmtl.finetuning.kinds.ranking import Ranking
from ernie_cmtl.finetuning.kinds.regression import Regression
from ernie_cmtl.finetuning.kinds.span import Span
from ernie_cmtl.finetuning.kinds.tokens import Tokens
from ernie_cmtl.finetuning.sets.recipe import KindName

KINDS: dict[KindName, type[Kind]] = {
    "classification": Classification,
    "regression": Regression,
    "ranking": Ranking,
    "tokens": Tokens,
    "span": Span,
}
