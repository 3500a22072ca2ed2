"""A run put together from its configuration: the whole line, corpus to model, in one place."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ernie_cmtl.config import RunConfig, TaskConfig
from ernie_cmtl.corpus.read.sources import check_mixture
from ernie_cmtl.corpus.store.content import content_of
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.store.manifest import Split
from ernie_cmtl.data.loader import Shares, StepSource
from ernie_cmtl.data.stage_streams import StageStreams
from ernie_cmtl.data.streams import MixturePart, SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.branches import begin
from ernie_cmtl.model.encoder import build_encoder, encoder_family
from ernie_cmtl.model.feeding import feeds
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.sharing import TRUNK, SharedTask, SharingTable, sharing_table
from ernie_cmtl.records import Ledger
from ernie_cmtl.run.instances import check_init_from, make_instance
from ernie_cmtl.scheduling.plan import Plan
from ernie_cmtl.scheduling.stages import StageTable
from ernie_cmtl.task_instance import TaskInstance, run_heads
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.gradient_spikes import Spikes
from ernie_cmtl.training.loss_weighting import build_loss_weighting
from ernie_cmtl.training.trainer import Trainer

_log = logging.getLogger(__name__)
HELDOUT_SEED = 0
"""Held-out examples are the same for every run on a corpus."""


@dataclass(frozen=True)
class Run:
    """The parts of a run, opened when they are first asked for."""

    config: RunConfig

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus."""
        return Corpus(self.config.corpus)

    @cached_property
    def table(self) -> StageTable:
        """The stage table."""
        return StageTable(self.config.stages)

    @cached_property
    def plan(self) -> Plan:
        """Shares of each step."""
        return Plan(self.table, self.config.mode, self.config.seed)

    @cached_property
    def instances(self) -> list[TaskInstance]:
        """The task instances in order of introduction."""
        levels = self.sharing.levels or [None] * len(self.table.tasks)
        return [
            replace(instance, level=level)
            for instance, level in zip(self._instances, levels, strict=True)
        ]

    @cached_property
    def _instances(self) -> list[TaskInstance]:
        """The task instances without what the sharing of layers does to them."""
        self.config.check_tasks()
        settings = self.config.tasks
        drawn = (
            tuple(range(len(self.table.tasks)))
            if self.config.encoder.task_embedding == "shuffled"
            else ()
        )
        return [
            replace(
                make_instance(
                    name, row, settings.get(name, TaskConfig()), self.corpus, self.config.spans
                ),
                drawn_rows=drawn,
            )
            for row, name in enumerate(self.table.tasks)
        ]

    @cached_property
    def mixture(self) -> dict[str, float] | None:
        """Source -> part of the tokens; none: as much of each as there is."""
        manifest = self.corpus.manifest
        check_mixture(self.config.mixture, manifest.sources)
        return self.config.mixture or manifest.mixture

    @property
    def read_layers(self) -> list[str]:
        """Layers that some task of the run reads, sorted."""
        return sorted(
            {
                layer
                for instance in self.instances
                for layer in (*instance.layers, *instance.task.document_layers)
            }
        )

    @property
    def read_tables(self) -> list[str]:
        """Tables of labelled rows that some task of the run reads, sorted."""
        tables = {instance.task.options.table for instance in self.instances}
        return sorted(table for table in tables if table is not None)

    @cached_property
    def pin(self) -> str:
        """The name of what the run reads of its corpus: it changes with the text and with the
        layers of its tasks.
        """
        return self.corpus.manifest.pin(self.read_layers, self.read_tables)

    @cached_property
    def content(self) -> dict[str, Any]:
        """What the pin covers, part by part."""
        return content_of(self.corpus.manifest, self.read_layers, self.read_tables)

    def streams(self, split: Split) -> list[SampleStream]:
        """Open the samples of every task of a split, of at most `data.longest` tokens; held-out
        ones without weights.
        """
        mixture = [([name], weight) for name, weight in (self.mixture or {}).items() if weight > 0]
        if mixture and split == "heldout":
            mixture = [([name for names, _ in mixture for name in names], 1.0)]
        return [
            self._open(split, instance, self.config.data.longest, mixture)
            for instance in self.instances
        ]

    def heldout_of(self, source: str) -> list[SampleStream]:
        """Open the held-out samples that one source has, of the tasks that find any in it."""
        found = []
        for instance in [
            instance for instance in self.instances if not instance.task.options.table
        ]:
            with suppress(UserError):
                found.append(
                    self._open("heldout", instance, self.config.data.longest, [([source], 1.0)])
                )
        return found

    def _open(
        self, split: Split, instance: TaskInstance, longest: int, mixture: Sequence[MixturePart]
    ) -> SampleStream:
        table = instance.task.options.table
        text = self.corpus.text(split, table)
        # Weights are those of the running text.
        mixture = () if table else mixture
        try:
            return SampleStream(
                instance,
                text,
                longest,
                self.config.seed if split == "train" else HELDOUT_SEED,
                mixture,
            )
        except UserError as error:
            raise UserError(
                f"the {split} split of {table or self.config.corpus} ({text.documents} documents): "
                f"{error}"
            ) from None

    @cached_property
    def stage_streams(self) -> StageStreams:
        """The training samples of every stage."""
        mixture = [([name], weight) for name, weight in (self.mixture or {}).items()]
        served = [stage.budgets for stage in self.table.stages]

        def open_stream(instance: TaskInstance, longest: int) -> SampleStream:
            return self._open("train", instance, longest, mixture)

        return StageStreams(
            self.instances, self.config.stage_data, served, self.table.ends, open_stream
        )

    def steps_from(
        self, ledger: Ledger, last: int, rank: int, workers: int, plan: Shares | None = None
    ) -> StepSource:
        """Return the steps from a ledger on, for one worker; plan: with revisions, in place of the
        run's own.
        """
        return StepSource(
            stages=self.stage_streams.of_steps(ledger.step, last),
            stage_of=self.table.stage_of,
            shares=plan or self.plan,
            instances=self.instances,
            pad_id=self.corpus.vocabulary.pad_id,
            ledger=ledger,
            last=last,
            rank=rank,
            workers=workers,
            loader_workers=self.config.data.loader_workers,
        )

    def first_ledger(self) -> Ledger:
        """Return the ledger before the first step."""
        return self.stage_streams.first_ledger()

    def new_model(self) -> MultiTaskModel:
        """Make the model as it is before the first step, from scratch or from
        `encoder.init_from`.
        """
        config = self.config.encoder
        if config.init_from:
            check_init_from(config, self.corpus)
            # Before anything is made as large as the checkpoint says that it is.
            weights, missing = encoder_family(config.architecture).read_checkpoint(config)
        model = self.make_model()
        head = model.vocabulary_head
        head.begin_with(self.corpus.token_frequencies())
        if config.init_from:
            fresh = [*model.family.load_checkpoint(weights, head), *missing]
            copied = dict.fromkeys(model.sharing.copied, TRUNK)
            begin(model.family.layers, model.family.branches, copied)
            if fresh:
                _log.warning("%s lacks %s: freshly initialised", config.init_from, ", ".join(fresh))
        return model

    def new_trainer(
        self, model: MultiTaskModel, workers: Workers, spikes: Spikes | None = None
    ) -> Trainer:
        """Make what takes the steps of a model, as it is before the first one."""
        weighting = build_loss_weighting(self.config.loss_weighting, model.specs, self.instances)
        return Trainer(
            model,
            self.instances,
            self.config.optimizer,
            workers,
            self.table,
            self.config.seed,
            spikes,
            weighting,
        )

    def make_model(self) -> MultiTaskModel:
        """Make encoder and heads with what follows from the seed alone: for weights that are
        loaded, no text is read.
        """
        seed = self.config.seed
        family = build_encoder(self.config.encoder, self.corpus.vocabulary, seed)
        positions = family.config.maximum_positions
        if self.config.longest > positions:
            raise UserError(
                f"samples of {self.config.longest} tokens are longer than the encoder's "
                f"{positions} positions"
            )
        heads = run_heads(self.instances)
        model = MultiTaskModel(family, heads, self.table.tasks, seed, self.sharing)
        if self.config.training.gradient_checkpointing:
            family.recompute_activations()
        if self.config.training.compile:
            family.compile_layers()
        return model

    @cached_property
    def sharing(self) -> SharingTable:
        """Which layers the tasks share.

        Raises:
            UserError: The mode does not fit the tasks or the layers.
        """
        stages = list(zip((0, *self.table.ends), self.table.stages, strict=False))
        tasks = [
            SharedTask(
                instance.name,
                instance.task.family,
                next(step for step, stage in stages if stage.budgets.get(instance.name)),
                any(feeds(spec) for spec in instance.task.heads),
            )
            for instance in self._instances
        ]
        table = sharing_table(self.config.sharing, tasks, self._count_layers)
        if table.splitting and self.config.training.sharding == "full":
            raise UserError(
                f"sharing.mode {self.config.sharing.mode!r} compares whole gradients, which "
                "training.sharding=full cuts up; set training.sharding=none"
            )
        return table

    def _count_layers(self) -> int:
        encoder = self.config.encoder
        try:
            return encoder_family(encoder.architecture).sized(encoder).layers
        except UserError:
            # The settings of a run that has begun hold the sizes of the checkpoint that it started
            # from, which need not be there any more.
            return encoder.layers
