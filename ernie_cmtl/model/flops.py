"""Floating-point operations of a batch, counting only what the result needs: real tokens, labelled
places, own sequences.
"""

from ernie_cmtl.model.heads import SEQUENCE_KINDS, VocabularyHead
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.records import Batch


def encoder_flops(layers: int, hidden: int, intermediate: int, tokens: int, pairs: int) -> int:
    """Return the operations of forward and backward through the layers; pairs: of places that
    attend to each other.

    6 for each weight and token, 12 for each layer, hidden unit and pair.
    """
    weights = layers * (4 * hidden * hidden + 2 * hidden * intermediate)
    return 6 * weights * tokens + 12 * layers * hidden * pairs


def vocabulary_flops(hidden: int, vocabulary: int) -> int:
    """Return the operations of the vocabulary head for one label."""
    return 6 * hidden * (hidden + vocabulary)


def training_flops(model: MultiTaskModel, batch: Batch) -> int:
    """Return the operations of forward and backward, the encoder and every head with its labels."""
    config = model.encoder.config
    hidden, layers = config.hidden_size, config.num_hidden_layers
    lengths = batch.sequence_lengths
    tokens = int(lengths.sum())
    total = encoder_flops(layers, hidden, config.intermediate_size, tokens, int((lengths**2).sum()))
    last = [batch.targets[name] for name, spec in model.specs.items() if spec.layer == -1]
    read = sum(targets.positions.size for targets in last if (targets.tasks >= 0).any())
    # Of the last layer, what follows attention is computed at the places that are read alone.
    total -= 6 * (hidden * hidden + 2 * hidden * config.intermediate_size) * max(0, tokens - read)
    for name, spec in model.specs.items():
        targets = batch.targets[name]
        labels = int((targets.tasks >= 0).sum())
        if isinstance(model.heads[name], VocabularyHead):
            total += labels * vocabulary_flops(hidden, config.vocab_size)
        else:
            total += (
                labels
                * 6
                * hidden
                * (spec.classes + (hidden if spec.kind in SEQUENCE_KINDS else 0))
            )
    return total
