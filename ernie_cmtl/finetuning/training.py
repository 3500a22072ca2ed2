"""One model trained on one set, by the trainer of transformers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kinds.kind import Collate, Inputs, Kind
from ernie_cmtl.finetuning.sets.recipe import TrainConfig
from ernie_cmtl.records import Array
from ernie_cmtl.temporary_folder import temporary_folder

Loss = Callable[[nn.Module, Mapping[str, Tensor]], Tensor]
_JUDGED_AT_ONCE = 64


class HeadTrainer(Trainer):
    """The trainer of transformers with the loss of a kind."""

    def __init__(self, loss: Loss, **settings: Any) -> None:
        super().__init__(**settings)
        self._loss = loss
        # It prints to standard output, which belongs to the result.
        self.remove_callback(PrinterCallback)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return the loss of a batch.

        Raises:
            UserError: It is no finite number: the training has diverged.
        """
        loss = self._loss(model, inputs)
        if not torch.isfinite(loss):
            step = self.state.global_step + 1
            # The first step meets the weights as they were loaded.
            broken = _not_finite(model) if step == 1 else None
            remedy = broken and f"the model came with weights that are not finite: {broken}"
            problem = f"the loss is {loss.item()}"
            raise diverged(self.args.learning_rate, self.args.seed, step, problem, remedy)
        return loss


def diverged(
    rate: float, seed: int, step: int, problem: str, remedy: str | None = None
) -> UserError:
    """Return the error of a training that diverged at a step, counted from 1."""
    return UserError(
        f"learning rate {rate:g}, seed {seed}: diverged at step {step}: {problem}; "
        f"{remedy or 'try a lower learning rate'}"
    )


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    kind: Kind,
    inputs: Sequence[Inputs],
    config: TrainConfig,
    rate: float,
    seed: int,
) -> dict[str, Any]:
    """Train a model in place; returns steps, mean training loss and seconds.

    Raises:
        UserError: A loss, or a weight after the last step, is no finite number: the learning rate
            is too high, or the model was broken.
    """
    on_gpu = torch.cuda.is_available()
    with temporary_folder() as unused:
        arguments = TrainingArguments(
            output_dir=str(unused),
            learning_rate=rate,
            num_train_epochs=config.epochs,
            max_steps=_most_steps(len(inputs), config),
            per_device_train_batch_size=config.batch_size,
            warmup_steps=config.warmup,
            weight_decay=config.weight_decay,
            train_sampling_strategy="group_by_length",
            seed=seed,
            data_seed=seed,
            bf16=on_gpu and torch.cuda.is_bf16_supported(),
            dataloader_pin_memory=on_gpu,
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            # It would leave a loss that is not finite out of the mean, without a word.
            logging_nan_inf_filter=False,
            report_to="none",
            disable_tqdm=True,
        )
        # Several devices would each get a batch of this size.
        arguments._n_gpu = min(1, arguments.n_gpu)
        trainer = HeadTrainer(
            kind.loss,
            model=model,
            args=arguments,
            data_collator=kind.collator(tokenizer),
            train_dataset=datasets.Dataset.from_list(list(inputs)),
        )
        done = trainer.train()
    if broken := _not_finite(model):
        raise diverged(rate, seed, done.global_step, f"{broken} is not finite after it")
    return {
        "steps": done.global_step,
        "loss": done.training_loss,
        "seconds": done.metrics["train_runtime"],
    }


def _not_finite(model: nn.Module) -> str | None:
    """Return the name of the first weight that is not finite, if there is one."""
    found = (name for name, weight in model.named_parameters() if not weight.isfinite().all())
    return next(found, None)


def _most_steps(inputs: int, config: TrainConfig) -> int:
    """Return the limit of steps; -1, for none, where the epochs end before it."""
    planned = math.ceil(config.epochs * math.ceil(inputs / config.batch_size))
    return config.max_steps if config.max_steps is not None and config.max_steps < planned else -1


@torch.inference_mode()
def predict(model: PreTrainedModel, collate: Collate, inputs: Sequence[Inputs]) -> list[Array]:
    """Return what the head gives for each input: float [outputs], or [tokens, outputs].

    Inputs of similar length share a batch: the trainer's own prediction, when it groups by length,
    gives them in another order.
    """
    model.train(False)
    order = np.argsort([-len(one["input_ids"]) for one in inputs], kind="stable").tolist()
    found: dict[int, Array] = {}
    for start in range(0, len(order), _JUDGED_AT_ONCE):
        places = order[start : start + _JUDGED_AT_ONCE]
        batch = {
            name: value.to(model.device)
            for name, value in collate([inputs[place] for place in places]).items()
        }
        outputs = model(**batch)
        # The one head without logits has a pair of them, for the first and the last token of a
        # span.
        logits = (
            outputs["logits"]
            if "logits" in outputs
            else torch.stack([outputs["start_logits"], outputs["end_logits"]], -1)
        )
        for place, values in zip(places, logits.float().cpu().numpy(), strict=True):
            found[place] = values if values.ndim == 1 else values[: len(inputs[place]["input_ids"])]
    return [found[place] for place in range(len(inputs))]
