"""ModernBERT with layers for groups of tasks: the loss and gradients of stock layers, sequence by
sequence.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import ModernBertModel

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.records import Batch
from tests.model.test_sharing import (
    CPU,
    MODES,
    coefficients,
    gradients,
    mixed_batch,
    run_of,
    shaken,
)
from tests.support.encoders import ENCODERS


def layers_of(model: MultiTaskModel, branch: int) -> list[dict[str, Tensor]]:
    """The weights of each layer that a branch runs through."""
    family = model.family
    found = [dict(layer.named_parameters()) for layer in family.layers]
    if branch and model.low_rank:
        group = model.low_rank.groups[branch - 1]
        for key, (number, name) in model.low_rank._names.items():
            part = model.low_rank.up[key][group] @ model.low_rank.down[key][group]
            found[number][f"{name}.weight"] = found[number][f"{name}.weight"] + part
    elif branch:
        own = list(family.branches.values())[branch - 1]
        found[len(found) - len(own) :] = [dict(layer.named_parameters()) for layer in own]
    return found


def fed(model: MultiTaskModel, states: Tensor, level: int, task: int) -> Tensor:
    """States of a sequence after a layer with what lower heads predict; [1, L, hidden]."""
    for feed in model.feeds:
        if feed.level == level and task in feed.receivers:
            assert not feed.whole_sequence
            head = model.heads[feed.head].dense
            read = nn.functional.layer_norm(
                states, states.shape[-1:], model.encoder.final_norm.weight, None, 1e-5
            )
            scores = read @ head.weight.T + head.bias
            states = states + scores.softmax(-1) @ model.label_embeddings[feed.head]
    return states


def stock_states(model: MultiTaskModel, stock: ModernBertModel, batch: Batch) -> list[Tensor]:
    """What heads read of each depth: of the embeddings, and of each layer; [slots, hidden]."""
    family = model.family
    states = [
        torch.zeros(batch.token_ids.size, family.hidden_size).double()
        for _ in range(len(family.layers) + 1)
    ]
    number_of = model.branch_of if len(model.branch_of) else [0] * model.tasks
    for start, length, task in zip(
        batch.sequence_starts, batch.sequence_lengths, batch.sequence_tasks, strict=True
    ):
        places = torch.arange(start, start + length)
        tokens = torch.from_numpy(batch.token_ids.flatten())[places]
        words = family.word_embeddings[tokens] + family.task_rows[int(task)]
        weight, shape = model.encoder.embeddings.norm.weight, words.shape[-1:]
        found = nn.functional.layer_norm(words, shape, weight, None, 1e-5)[None]
        position_ids = torch.arange(length)[None]
        radius = (family.config.local_attention or 2 * ROW) // 2
        far = (position_ids.T - position_ids).abs() > radius
        band = torch.zeros(far.shape).double().masked_fill(far, -torch.inf)[None, None]
        for depth, weights in enumerate([None, *layers_of(model, int(number_of[task]))]):
            if weights is not None:
                layer = stock.layers[depth - 1]
                local = layer.attention_type == "sliding_attention"
                inputs = {
                    "attention_mask": band if local else None,
                    "position_embeddings": stock.rotary_emb(
                        found, position_ids, layer.attention_type
                    ),
                }
                found = torch.func.functional_call(layer, weights, (found,), inputs)
                found = fed(model, found, depth, int(task))
            read = nn.functional.layer_norm(
                found[0], shape, model.encoder.final_norm.weight, None, 1e-5
            )
            states[depth] = states[depth].index_put((places,), read)
    return states


ROW = 64


@pytest.mark.parametrize(
    "name", ["hard", "a family each", "soft", "low rank above", "levels of a table", "fed"]
)
def test_a_mode_equals_stock_layers_for_each_branch(english: Corpus, name: str) -> None:
    windows: dict[str, Any] = ENCODERS["modernbert_windows"]
    run = run_of(english, MODES[name], **windows)
    model = shaken(run)
    config = model.family.stock_config()
    config._attn_implementation = "eager"
    stock = ModernBertModel(config).double().eval()
    batch = mixed_batch(run)
    states = stock_states(model, stock, batch)
    targets = model.on_device(batch, CPU).targets
    expected_loss = torch.zeros((), dtype=torch.float64)
    for row, (head, spec) in enumerate(model.specs.items()):
        labels = targets[head]
        places = torch.from_numpy(batch.targets[head].positions.flatten())
        weights = coefficients(model)[row][labels.tasks]
        read = states[spec.encoder_layer][places]
        expected_loss = expected_loss + model._losses(head, read, labels, weights)[0]
    expected = gradients(model, expected_loss)
    loss, _ = model(model.on_device(batch, CPU), coefficients(model))
    # The stock class turns queries and keys in float32.
    torch.testing.assert_close(loss, expected_loss, rtol=1e-6, atol=0)
    for key, gradient in gradients(model, loss).items():
        wanted = expected.get(key, torch.zeros_like(gradient))
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5, msg=key)
