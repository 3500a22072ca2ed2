"""Encoder and heads as one module: the only thing that is wrapped for many workers, and it always
runs every head.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import ErnieModel

from ernie_cmtl.model.encoder import task_rows
from ernie_cmtl.model.heads import SEQUENCE_KINDS, VocabularyHead, build_head, losses_and_hits
from ernie_cmtl.model.kernels.packed_attention import PackedLayout, to_device
from ernie_cmtl.model.last_layer import ReadPlaces
from ernie_cmtl.records import MASKED_TOKEN, Batch
from ernie_cmtl.task import HeadSpec

LOSS, HITS, LABELS = range(3)
"""Columns of the statistics."""


@dataclass(frozen=True)
class TensorTargets:
    """`BatchTargets` on the device."""

    positions: Tensor
    labels: Tensor
    tasks: Tensor
    idle: bool = False
    """There is only the dummy that keeps the head in the graph."""


@dataclass(frozen=True)
class TensorBatch:
    """`Batch` on the device."""

    token_ids: Tensor
    token_type_ids: Tensor
    task_type_ids: Tensor
    position_ids: Tensor
    layout: PackedLayout
    targets: Mapping[str, TensorTargets]

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> "TensorBatch":
        """Move a batch to a device."""
        arrays = (batch.token_ids, batch.token_type_ids, batch.task_type_ids, batch.position_ids)
        rows, length = batch.token_ids.shape
        layout = PackedLayout(
            batch.sequence_starts, batch.sequence_lengths, rows * length, length, device
        )
        targets = {}
        for name, t in batch.targets.items():
            positions, labels, tasks = (
                to_device(a, device) for a in (t.positions, t.labels, t.tasks)
            )
            targets[name] = TensorTargets(positions, labels, tasks, idle=bool((t.tasks < 0).all()))
        moved = [to_device(a, device) for a in arrays]
        return cls(moved[0], moved[1], moved[2], moved[3], layout, targets)


class MultiTaskModel(nn.Module):
    """An encoder and every head of a run, all there from the first step."""

    def __init__(
        self, encoder: ErnieModel, heads: Mapping[str, HeadSpec], tasks: int, seed: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.specs = dict(heads)
        self.tasks = tasks
        self.heads = nn.ModuleDict(
            {name: build_head(name, spec, encoder.config, seed) for name, spec in heads.items()}
        )
        self._reads_inner_layers = any(spec.layer != -1 for spec in heads.values())

    def forward(self, batch: TensorBatch, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and the statistics of each head and task.

        coefficients: what one label of (head, task) weighs, float32 [heads, tasks + 1], the last
        column zero for idle heads. Statistics: float32 [heads, tasks + 1, 3], sums of losses, hits
        and labels, detached.
        """
        states, loss = self._read(batch, self.specs)
        statistics = coefficients.new_zeros((len(self.specs), self.tasks + 1, 3))
        for row, name in enumerate(self.specs):
            targets = batch.targets[name]
            weights = coefficients[row][targets.tasks]
            weighted, losses, hits = self._losses(name, states[name], targets, weights)
            loss = loss + weighted
            sums = torch.stack([losses.detach(), hits, torch.ones_like(hits)], dim=1)
            statistics[row].index_add_(0, targets.tasks % (self.tasks + 1), sums.to(statistics))
        return loss, statistics

    def head_scores(self, batch: TensorBatch, name: str) -> Tensor:
        """Return what a head scores at its labelled places; [N, classes]."""
        return self._scores(
            name, self._read(batch, [name])[0][name], batch.targets[name].positions.shape
        )

    def masked_token_scores(self, batch: TensorBatch) -> Tensor:
        """Return the vocabulary scores of every place of a batch; [slots, vocabulary]."""
        states = self._encode(batch, None).last_hidden_state.flatten(0, 1)
        return self._scores(MASKED_TOKEN, states, states.shape[:1])

    def _read(self, batch: TensorBatch, names: Collection[str]) -> tuple[dict[str, Tensor], Tensor]:
        """Return the states at the labelled places of each head, [N, hidden], and a zero that holds
        the pooler.
        """
        places = {name: batch.targets[name].positions.flatten() for name in names}
        last = [name for name in names if self.specs[name].layer == -1]
        # What an idle head scores counts nothing, so it takes what others read: with or without it,
        # the same is computed.
        read = [name for name in last if not batch.targets[name].idle] or last
        output = self._encode(
            batch, ReadPlaces(torch.cat([places[name] for name in read])) if read else None
        )
        states: dict[str, Tensor] = {}
        if read:
            states.update(
                zip(
                    read,
                    output.last_hidden_state[0].split([len(places[name]) for name in read]),
                    strict=True,
                )
            )
        for name in names:
            if name not in last:
                states[name] = (
                    output.hidden_states[self.specs[name].layer]
                    .flatten(0, 1)
                    .index_select(0, places[name])
                )
            elif name not in read:
                states[name] = output.last_hidden_state[0, :1].expand(len(places[name]), -1)
        # The pooler stays in the graph when no sequence head has labels, so that workers reduce the
        # same parameters.
        return states, 0.0 * output.pooler_output.sum()

    def _encode(self, batch: TensorBatch, read: ReadPlaces | None) -> Any:
        """Run the encoder; its last layer only where it is read; None: at all places."""
        return self.encoder(
            input_ids=batch.token_ids,
            token_type_ids=batch.token_type_ids,
            task_type_ids=batch.task_type_ids,
            position_ids=batch.position_ids,
            packed_layout=batch.layout,
            read=read,
            output_hidden_states=self._reads_inner_layers,
            use_cache=False,
        )

    @property
    def _pooler(self) -> nn.Module:
        assert self.encoder.pooler is not None
        return self.encoder.pooler

    @property
    def _word_embeddings(self) -> Tensor:
        return self.encoder.embeddings.word_embeddings.weight

    def _losses(
        self, name: str, states: Tensor, targets: TensorTargets, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weighted sum of a head's losses, and the loss and the hit of each label."""
        head = self.heads[name]
        if isinstance(head, VocabularyHead):
            return head.losses(states, self._word_embeddings, targets.labels, weights)
        scores = self._scores(name, states, targets.positions.shape)
        losses, hits = losses_and_hits(self.specs[name], scores, targets.labels)
        return (losses * weights).sum(), losses, hits

    def _scores(self, name: str, states: Tensor, shape: torch.Size) -> Tensor:
        """Return the scores of states that are read, which a choice has in the shape of its
        candidates.
        """
        head, kind = self.heads[name], self.specs[name].kind
        if isinstance(head, VocabularyHead):
            return cast(Tensor, head(states, self._word_embeddings))
        scores: Tensor = head(
            self._pooler(states.unsqueeze(1)) if kind in SEQUENCE_KINDS else states
        )
        return scores.view(shape) if kind == "choice" else scores

    def idle_parameters(
        self, labelled: Tensor, rows: Sequence[Collection[int]]
    ) -> list[nn.Parameter]:
        """Return the parameters that must not move in a step.

        labelled: does (head, task) have a label in the step on any worker, bool [heads, tasks];
        rows: of the task embedding, those that samples of each task may have.
        """
        idle: list[nn.Parameter] = []
        pooled = False
        for row, (name, spec) in enumerate(self.specs.items()):
            active = bool(labelled[row].any())
            pooled |= active and spec.kind in SEQUENCE_KINDS
            if not active:
                idle += self.heads[name].parameters()
        if not pooled:
            idle += self._pooler.parameters()
        active_rows = {
            row for task in range(self.tasks) if bool(labelled[:, task].any()) for row in rows[task]
        }
        return idle + [
            parameter
            for row, parameter in enumerate(task_rows(self.encoder))
            if row not in active_rows
        ]
