"""Floating-point operations of a batch, counting only what the result needs: real tokens, labelled
places, own sequences.
"""

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.model.encoder import LayerWeights
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.records import Batch
from ernie_cmtl.task import MASKED_TOKEN_HEAD


def encoder_flops(
    config: EncoderConfig, layer: LayerWeights, lengths: Mapping[int, int | Fraction]
) -> int:
    """Return the operations of forward and backward through the layers; lengths: of a sequence ->
    how many there are.

    6 for each weight and token, 12 for each layer, hidden unit and pair of places that attend to
    each other; in a local layer, those within its window.
    """
    tokens = sum(length * count for length, count in lengths.items())
    pairs = sum(length**2 * count for length, count in lengths.items())
    radius = (config.local_attention or 0) // 2
    near = sum(_pairs_within(radius, length) * count for length, count in lengths.items())
    attended = (config.layers - config.local_layers) * pairs + config.local_layers * near
    return round(6 * config.layers * sum(layer) * tokens + 12 * config.hidden_size * attended)


def _pairs_within(radius: int, length: int) -> int:
    """Return how many pairs of places of a sequence are no further apart than that."""
    reach = min(radius, length - 1)
    return length * (2 * reach + 1) - reach * (reach + 1)


def low_rank_flops(tokens: int, parameters: int) -> int:
    """Return the operations of low-rank parts: a token is multiplied with those of every group, of
    which one counts.
    """
    return 6 * tokens * parameters


def vocabulary_flops(hidden: int, vocabulary: int) -> int:
    """Return the operations of the vocabulary head for one label."""
    head = MASKED_TOKEN_HEAD
    return 6 * head_kind(head.kind).weights_of_label(head, hidden, vocabulary)


def training_flops(model: MultiTaskModel, batch: Batch) -> int:
    """Return the operations of forward and backward, the encoder and every head with its labels."""
    family, config = model.family, model.family.config
    layer = family.weights_of_layer(config)
    lengths = batch.sequence_lengths
    tokens = int(lengths.sum())
    total = encoder_flops(config, layer, Counter(lengths.tolist()))
    last = [batch.targets[name] for name, spec in model.specs.items() if spec.encoder_layer == -1]
    read = sum(targets.positions.size for targets in last if (targets.tasks >= 0).any())
    # Of the last layer, what follows attention is computed at the places that are read alone.
    total -= 6 * layer.after_attention * max(0, tokens - read)
    if model.low_rank:
        total += low_rank_flops(tokens, sum(part.numel() for part in model.low_rank.parameters()))
    transform = sum(
        weight.numel() for weight in family.sequence_transform.parameters() if weight.ndim == 2
    )
    for name, spec in model.specs.items():
        kind, labels = head_kind(spec.kind), int((batch.targets[name].tasks >= 0).sum())
        weights = kind.weights_of_label(spec, config.hidden_size, family.vocabulary_size)
        total += 6 * labels * (weights + (transform if kind.reads_sequence else 0))
    return total
