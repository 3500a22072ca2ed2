"""What kinds share whose examples are a text or two."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from ernie_cmtl.finetuning.kinds.kind import Inputs, unpacked
from ernie_cmtl.finetuning.sets.rows import LabelledRow


@dataclass(frozen=True, slots=True)
class Pair:
    """A text, or two of them, with the number that stands for its label."""

    texts: tuple[str, ...]
    label: float


def texts_of(row: LabelledRow) -> tuple[str, ...]:
    """Return the text, or the two texts, of a row."""
    return tuple(row.sentence(value) for value in (row.text, row.text_pair) if value is not None)


def encode_texts(
    texts: Sequence[tuple[str, ...]], tokenizer: PreTrainedTokenizerBase, length: int
) -> list[Inputs]:
    """Tokenize texts or pairs of texts; of a pair that is too long, the longer text is cut."""
    return unpacked(
        tokenizer(*map(list, zip(*texts, strict=True)), truncation=True, max_length=length)
    )
