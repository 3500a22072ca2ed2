"""Speed changes nothing: the losses of a run are those of the plainest way to compute them."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ernie_cmtl.config import RunConfig
from ernie_cmtl.head_kinds import ReadStates, head_kind
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.distributed import Workers

STEPS = 100


class PlainModel(nn.Module):
    """One padded sequence a row, attention with a mask, all scores of the vocabulary, the library's
    own cross entropy.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model = model
        model.encoder.set_attn_implementation("eager")

    def forward(self, batch: TensorBatch, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        model, states = self.model, self.hidden_states(batch)
        loss = 0.0 * states.sum()
        statistics = coefficients.new_zeros((len(model.specs), model.tasks + 1, 3))
        for row, (name, spec) in enumerate(model.specs.items()):
            targets, head = batch.targets[name], model.heads[name]
            picked = states[targets.positions.flatten()]
            if spec.kind in ("sequence_class", "sequence_regression", "choice"):
                picked = model.encoder.pooler(picked[:, None])
            words = model.encoder.embeddings.word_embeddings.weight
            if spec.kind == "vocabulary":
                scores = functional.linear(head.transform(picked), words, head.bias)
                losses = functional.cross_entropy(scores, targets.labels, reduction="none")
            else:
                scores = head(ReadStates(picked, targets.positions.shape, words))
                losses, _ = head_kind(spec.kind).losses_and_hits(scores, targets.labels)
            loss = loss + (losses * coefficients[row][targets.tasks]).sum()
        return loss, statistics

    def hidden_states(self, batch: TensorBatch) -> Tensor:
        """Return the last layer at every place; [slots, hidden]."""
        spans = [
            group.places[row][group.real[row]]
            for group in batch.layout.groups
            for row in range(len(group.places))
        ]
        real = nn.utils.rnn.pad_sequence(
            [torch.ones(len(span)) for span in spans], batch_first=True
        )
        places = nn.utils.rnn.pad_sequence(spans, batch_first=True)
        names = ("token_ids", "token_type_ids", "task_type_ids", "position_ids")
        tokens, types, tasks, positions = (getattr(batch, name).flatten()[places] for name in names)
        found = self.model.encoder(
            tokens,
            token_type_ids=types,
            task_type_ids=tasks,
            position_ids=positions,
            attention_mask=real,
        ).last_hidden_state
        return found.new_zeros((batch.token_ids.numel(), found.shape[-1])).index_copy(
            0, places[real > 0], found[real > 0]
        )


def losses(config: RunConfig, plain: bool) -> list[float]:
    run = Run(config)
    trainer = run.new_trainer(run.new_model(), Workers("fp32"))
    trainer.wrapped = PlainModel(trainer.model) if plain else trainer.wrapped
    return [
        float(result.loss)
        for result in trainer.run(run.steps_from(run.first_ledger(), STEPS, 0, 1))
    ]


def test_a_hundred_steps_have_the_losses_of_plain_ones(tiny_config: RunConfig) -> None:
    # Twenty steps of one task, then three tasks in the same rows.
    tasks = dict.fromkeys(("knowledge_masking", "capitalization", "sentence_reordering"), 40)
    stages = [
        {"name": "first", "budgets": {"knowledge_masking": 20}},
        {"name": "second", "budgets": tasks},
    ]
    settings = tiny_config.model_dump(exclude_unset=True) | {"stages": stages}
    settings["encoder"] |= {"dropout": 0.0}
    config = RunConfig.model_validate(settings)
    fast, plain = losses(config, plain=False), losses(config, plain=True)
    assert fast == pytest.approx(plain, rel=1e-5)
    # They were trained.
    assert fast[19] < fast[0] - 0.2
