"""Floating-point operations of a batch, counting only what the result needs: real tokens, labelled places, own sequences."""

from ernie_cmtl.model.heads import SEQUENCE_KINDS, VocabularyHead
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.records import Batch


def training_flops(model: MultiTaskModel, batch: Batch) -> int:
    """Return the operations of forward and backward.

    6 for each weight and token, 12 for each layer, hidden unit and pair of places that attend to each other.
    """
    config = model.encoder.config
    hidden, layers = config.hidden_size, config.num_hidden_layers
    weights = layers * (4 * hidden * hidden + 2 * hidden * config.intermediate_size)
    lengths = batch.sequence_lengths
    total = 6 * weights * int(lengths.sum()) + 12 * layers * hidden * int((lengths**2).sum())
    for name, spec in model.specs.items():
        targets = batch.targets[name]
        labels = int((targets.tasks >= 0).sum())
        if isinstance(model.heads[name], VocabularyHead):
            size = hidden * (hidden + config.vocab_size)
        else:
            size = hidden * (spec.classes + (hidden if spec.kind in SEQUENCE_KINDS else 0))
        total += 6 * size * labels
    return total
