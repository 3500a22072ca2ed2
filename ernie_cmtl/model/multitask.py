"""Encoder and heads as one module: the only thing that is wrapped for many workers, and it always
runs every head.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ernie_cmtl.head_kinds import Head, ReadStates, head_kind
from ernie_cmtl.head_kinds.vocabulary import VocabularyHead
from ernie_cmtl.model.branches import begin, pull_to_mean
from ernie_cmtl.model.encoder import Between, EncoderFamily
from ernie_cmtl.model.feeding import fed_places, feeds_of, label_embeddings
from ernie_cmtl.model.low_rank import LowRankParts
from ernie_cmtl.model.read_places import ReadPlaces
from ernie_cmtl.model.sharing import HARD, SharingTable
from ernie_cmtl.model.tensor_batch import TensorBatch, TensorTargets, groups_of
from ernie_cmtl.randomness import derive_key
from ernie_cmtl.records import MASKED_TOKEN, Batch
from ernie_cmtl.task import HeadSpec

LOSS, HITS, LABELS = range(3)
"""Columns of the statistics."""


class MultiTaskModel(nn.Module):
    """An encoder and every head of a run, all there from the first step."""

    def __init__(
        self,
        family: EncoderFamily,
        heads: Mapping[str, HeadSpec],
        tasks: Sequence[str],
        seed: int,
        sharing: SharingTable = HARD,
    ) -> None:
        """tasks: names, in the order of their rows; heads begin with weights that follow from the
        seed.
        """
        super().__init__()
        self.family = family
        self.encoder = family.module
        self.specs = dict(heads)
        self.tasks = len(tasks)
        self.heads = nn.ModuleDict(
            {name: _build_head(name, spec, family, seed) for name, spec in heads.items()}
        )
        family.meet(self.vocabulary_head)
        self.sharing = sharing
        if sharing.copied:
            family.branch_off(sharing.private_layers, sharing.copied)
        self.branches = cast(nn.ModuleDict, family.branches) if sharing.copied else None
        self.low_rank = _low_rank(family, sharing, seed)
        self.branch_of = sharing.route(0)
        """Of each task, 0 for the trunk; int64 [tasks]."""
        numbers = {task: number for number, task in enumerate(tasks)}
        self.feeds = feeds_of(heads, numbers, sharing)
        self.label_embeddings = label_embeddings(self.feeds, heads, family.hidden_size)
        self._reads_inner_layers = any(spec.encoder_layer != -1 for spec in heads.values())

    def route(self, step: int) -> None:
        """Send each task through the layers that are its own in a step."""
        self.branch_of = self.sharing.route(step)

    def begin(self, step: int) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Make each branch that begins at a step a copy of the layers that its tasks used before;
        return each parameter with the one that it is a copy of.
        """
        if not self.branches or not (parents := self.sharing.beginning_at(step)):
            return []
        return begin(self.family.layers, self.family.branches, parents)

    def pull_together(self, step: int) -> Tensor | None:
        """Add the pull of softly shared parameters to their gradients; return the sum of their
        squared distances from their means, or None where nothing pulls.
        """
        strength, family = self.sharing.strength, self.family
        if not strength:
            return None
        begun = self.sharing.begun_by(step)
        return pull_to_mean(family.layers, family.branches, begun, strength)

    def on_device(self, batch: Batch, device: torch.device) -> TensorBatch:
        """Move a batch to a device, each task's places where its branch reads them."""
        moved = TensorBatch.of(batch, device, self.branch_of, len(self.sharing.copied))
        if self.low_rank:
            moved = replace(moved, groups=groups_of(batch, self.branch_of, device))
        fed = fed_places(batch, self.feeds, device)
        return replace(moved, fed=fed) if fed else moved

    def _feed(self, batch: TensorBatch, states: Tensor, level: int) -> Tensor:
        """Add what the heads of a level predict to the states of the tasks above it."""
        for feed in self.feeds:
            if feed.level == level and feed.head in batch.fed:
                flat, places = states.flatten(0, 1), batch.fed[feed.head]
                read = self.family.as_read(flat.index_select(0, places))
                scores = self._scores(feed.head, read, places.shape)
                added = scores.softmax(-1) @ self.label_embeddings[feed.head].to(scores.dtype)
                states = flat.index_add(0, places, added.to(flat.dtype)).view_as(states)
        return states

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

    @property
    def vocabulary_head(self) -> VocabularyHead:
        """The head for masked tokens, which every run has."""
        return cast(VocabularyHead, self.heads[MASKED_TOKEN])

    def head_scores(self, batch: TensorBatch, name: str) -> Tensor:
        """Return what a head scores at its labelled places; [N, classes]."""
        states = self._read(batch, [name])[0][name]
        return self._scores(name, states, batch.targets[name].positions.shape)

    def masked_token_scores(self, batch: TensorBatch) -> Tensor:
        """Return the vocabulary scores of every place of a batch; [slots, vocabulary]."""
        self._see(batch, None)
        states = self.family.encode(batch, None, False, self._between).last.flatten(0, 1)
        return self._scores(MASKED_TOKEN, states, states.shape[:1])

    def _read(self, batch: TensorBatch, names: Collection[str]) -> tuple[dict[str, Tensor], Tensor]:
        """Return the states at the labelled places of each head, [N, hidden], and a zero that holds
        what no head reads.
        """
        places = {name: batch.targets[name].positions.flatten() for name in names}
        last = [name for name in names if self.specs[name].encoder_layer == -1]
        # What an idle head scores counts nothing, so it takes what others read: with or without it,
        # the same is computed.
        read = [name for name in last if not batch.targets[name].idle] or last
        at = None
        if read:
            on_host = np.concatenate([batch.targets[name].on_host.flatten() for name in read])
            at = ReadPlaces(torch.cat([places[name] for name in read]), on_host)
        self._see(batch, at)
        encoded = self.family.encode(batch, at, self._reads_inner_layers, self._between)
        states: dict[str, Tensor] = {}
        if read:
            sizes = [len(places[name]) for name in read]
            parts: Sequence[Tensor] = torch.split(encoded.last[0], sizes)
            states.update(zip(read, parts, strict=True))
        for name in names:
            if name not in last:
                inner = encoded.inner[self.specs[name].encoder_layer].flatten(0, 1)
                states[name] = self.family.as_read(inner.index_select(0, places[name]))
            elif name not in read:
                states[name] = encoded.last[0, :1].expand(len(places[name]), -1)
        return states, encoded.unread

    def _see(self, batch: TensorBatch, read: ReadPlaces | None) -> None:
        """Tell the low-rank parts whose places the layers will see."""
        if self.low_rank:
            groups = batch.groups
            if groups is None:
                groups = torch.zeros_like(batch.token_ids).flatten()
            self.low_rank.see(groups, None if read is None else read.places)

    @property
    def _between(self) -> Between | None:
        return self._feed if self.feeds else None

    def _losses(
        self, name: str, states: Tensor, targets: TensorTargets, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weighted sum of a head's losses, and the loss and the hit of each label."""
        read = self._as_read(name, states, targets.positions.shape)
        return cast(Head, self.heads[name]).losses(read, targets.labels, weights)

    def _scores(self, name: str, states: Tensor, shape: torch.Size) -> Tensor:
        """Return the scores of states that are read; shape: of the places in the targets."""
        return cast(Tensor, self.heads[name](self._as_read(name, states, shape)))

    def _as_read(self, name: str, states: Tensor, shape: torch.Size) -> ReadStates:
        """Return states as a head reads them."""
        if head_kind(self.specs[name].kind).reads_sequence:
            states = self.family.sequence_states(states)
        return ReadStates(states, shape, self.family.word_embeddings)


def _low_rank(family: EncoderFamily, sharing: SharingTable, seed: int) -> LowRankParts | None:
    if not (sharing.rank and sharing.branches):
        return None
    first = len(family.layers) - sharing.private_layers
    layers = dict(list(enumerate(family.layers))[first:])
    deviation = family.config.initializer_range
    return LowRankParts(layers, sharing.branches, sharing.rank, deviation, seed)


def _build_head(name: str, spec: HeadSpec, family: EncoderFamily, seed: int) -> Head:
    """Make a head whose weights depend on (seed, name) alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_key(seed, "head", name) >> 1)
        head = head_kind(spec.kind).build(spec, family)
        for module in head.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=family.config.initializer_range)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return head
