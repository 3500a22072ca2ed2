"""A head that pretraining trained, as the class of transformers that scores the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    MODEL_FOR_MULTIPLE_CHOICE_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.export.card import CardFacts
from ernie_cmtl.export.probe import Probe, check_close, largest
from ernie_cmtl.export.stock_models import stock_model
from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.head_kinds import HEAD_KINDS, HeadKind, StockHead, head_kind
from ernie_cmtl.model.stock_classes import StockWeights
from ernie_cmtl.pretrained.weights import quiet_loading
from ernie_cmtl.records import MASKED_TOKEN, BatchTargets
from ernie_cmtl.task import HeadSpec


class StockClass(NamedTuple):
    """A class of transformers for heads."""

    auto: Any
    configs: Any
    """Which encoders have it."""
    pipeline: str
    """What the Hub calls its task."""


STOCK_CLASSES: dict[StockHead, StockClass] = {
    "SequenceClassification": StockClass(
        AutoModelForSequenceClassification,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        "text-classification",
    ),
    "TokenClassification": StockClass(
        AutoModelForTokenClassification,
        MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
        "token-classification",
    ),
    "MultipleChoice": StockClass(
        AutoModelForMultipleChoice, MODEL_FOR_MULTIPLE_CHOICE_MAPPING, "multiple-choice"
    ),
}
_LENGTHS = (64, 40, 23)
_USAGE = """It holds the head
`{head}` as pretraining left it ({what}), on {layers} of the encoder.

```python
from transformers import AutoTokenizer, {auto}

path = "."  # this folder, or its name on the Hub
tokenizer = AutoTokenizer.from_pretrained(path)
model = {auto}.from_pretrained(path)
logits = model(**tokenizer("...", return_tensors="pt")).logits
```

The view of the task `{task}` (row {row} of the task embedding) is part of the segment embeddings.
The scores are those of pretraining for inputs that are laid out as that task lays them out: see its
description in `docs/tasks.md` of `ernie_cmtl`."""


def check_head(specs: dict[str, HeadSpec], name: str) -> None:
    """Refuse a head that no class of transformers holds; specs: heads of the run.

    Raises:
        UserError: It is unknown, the one for masked tokens, or of a kind without a class.
    """
    usable = {key: spec for key, spec in specs.items() if head_kind(spec.kind).stock_head}
    if name.rpartition("/")[2] == MASKED_TOKEN:
        raise UserError(
            f"--head {name}: the plain export has the head for masked tokens "
            "(AutoModelForMaskedLM); leave --head out"
        )
    if name not in specs:
        raise UserError(f"the run has no head {name!r}; {choices(name, usable, 'it has')}")
    if name not in usable:
        kinds = [kind for kind in HEAD_KINDS.names() if head_kind(kind).stock_head]
        raise UserError(
            f"--head {name} is of the kind {specs[name].kind!r}, which no class of transformers "
            f"scores; kinds that have one: {', '.join(kinds)}; "
            f"{choices(name, usable, 'heads of this run:')}"
        )


@dataclass(frozen=True)
class Classifier:
    """The head of a model that is exported, with the encoder below it."""

    trained: TrainedModel
    name: str
    output: ClassVar[str] = "logits"

    @property
    def spec(self) -> HeadSpec:
        """What the head predicts."""
        return self.trained.model.specs[self.name]

    @property
    def kind(self) -> HeadKind:
        """How the head reads and scores."""
        return head_kind(self.spec.kind)

    @property
    def candidates(self) -> int | None:
        """How many sequences one score chooses among; None: it reads a single one."""
        return self.kind.candidates(self.spec)

    @property
    def stock_head(self) -> StockHead:
        """Which class holds it."""
        assert self.kind.stock_head is not None, "check_head has refused it"
        return self.kind.stock_head

    @property
    def stock_class(self) -> StockClass:
        """What loads it."""
        return STOCK_CLASSES[self.stock_head]

    def config(self) -> PretrainedConfig:
        """Return the config of the class: as many layers as the head reads, and its labels.

        Raises:
            UserError: transformers has no such class for this encoder.
        """
        config = self.trained.without_tasks().config
        if type(config) not in self.stock_class.configs:
            raise UserError(
                f"--head {self.name}: transformers has no AutoModelFor{self.stock_head} for "
                f"{config.model_type!r}, as which this encoder leaves"
            )
        spec, layers = self.spec, self.trained.model.family.config.layers
        # Inner states are counted from 0, what the first layer takes.
        count = layers if spec.encoder_layer == -1 else range(layers)[spec.encoder_layer]
        config.num_hidden_layers = count
        if kinds := getattr(config, "layer_types", None):
            config.layer_types = kinds[:count]
        if self.kind.candidates(spec) is None:
            named = len({*spec.class_names}) == spec.classes
            names = spec.class_names if named else [f"LABEL_{n}" for n in range(spec.classes)]
            if self.kind.is_regression:
                names, config.problem_type = [spec.name], "regression"
            config.id2label = dict(enumerate(names))
            config.label2id = {name: number for number, name in config.id2label.items()}
        return config

    def model(self) -> PreTrainedModel:
        """Return encoder and head as that class."""
        trained, head = self.trained, self.trained.model.heads[self.name]
        linear = {
            name.rpartition(".")[2]: value.detach().float()
            for name, value in head.state_dict().items()
        }
        state = trained.without_tasks().state | trained.model.family.stock_classifier(
            self.stock_head, linear
        )
        return stock_model(self.stock_class.auto, StockWeights(self.config(), state))

    def save(self, folder: Path) -> None:
        """Write weights and config."""
        model = self.model()
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})

    def probes(self) -> list[Probe]:
        """Return sequences of two shapes to compare scores on; one for each candidate of a
        choice.
        """
        count = self.candidates
        shapes = [(length,) * count for length in _LENGTHS[::2]] if count else [_LENGTHS, (17,)]
        return [Probe.of(self.trained, lengths) for lengths in shapes]

    @torch.no_grad()
    def scores_of_run(self, probe: Probe) -> Tensor:
        """Return what the run's own head scores; [N, classes] or [N, candidates]."""
        starts = probe.starts
        if self.candidates:
            positions = starts[None]
        else:
            tokens = int(probe.inside.sum())
            positions = starts if self.kind.reads_sequence else np.arange(tokens)
        labels = np.zeros(len(positions), dtype=self.kind.label_dtype)
        targets = BatchTargets(positions, labels, np.zeros(len(positions), dtype=np.int64))
        model = self.trained.model.train(False)
        batch = probe.packed(self.trained.task_row, {self.name: targets})
        return model.head_scores(batch, self.name)

    def inputs(self, probe: Probe) -> dict[str, Tensor]:
        """Return what the class takes."""
        found = probe.inputs
        if self.candidates:
            return {name: value[None] for name, value in found.items()}
        return found

    def scores(self, logits: Tensor, probe: Probe) -> Tensor:
        """Return the logits of the class in the order of `scores_of_run`."""
        return logits if logits.ndim == 2 else probe.at_tokens(logits)

    @torch.no_grad()
    def verify(self, folder: Path) -> dict[str, Any]:
        """Load it and return the largest difference of a logit from the run's own scores.

        Raises:
            RuntimeError: A weight is missing, or it does not score what the run does.
        """
        with quiet_loading():
            loaded, report = self.stock_class.auto.from_pretrained(folder, output_loading_info=True)
        if missing := sorted(report["missing_keys"]):
            raise RuntimeError(f"the export lacks weights: {', '.join(missing)}")
        loaded.train(False)
        return check_close({"logit": max(self._difference(loaded, one) for one in self.probes())})

    def _difference(self, loaded: PreTrainedModel, probe: Probe) -> float:
        logits = loaded(**self.inputs(probe)).logits
        return largest(self.scores(logits, probe), self.scores_of_run(probe))

    def facts(self) -> CardFacts:
        """Say what it scores, and how to load it."""
        trained, chosen = self.trained, self.stock_class
        usage = _USAGE.format(
            head=self.name,
            auto=chosen.auto.__name__,
            what=", ".join(self.spec.class_names) or self.spec.kind.replace("_", " "),
            layers="all layers"
            if self.spec.encoder_layer == -1
            else f"the layers up to {self.spec.encoder_layer}",
            row=trained.task_row,
            task=trained.task,
        )
        return CardFacts(usage, pipeline=chosen.pipeline)
