"""The runs that `reliability_peers.py` breaks: ours, `transformers.Trainer` and a loop with
accelerate, each as documented.

All train an encoder of 2x32 with eight rows of 32 tokens a step, save every fifth step and keep two
checkpoints. The peers mask 15 % of the tokens with `DataCollatorForLanguageModeling`, as the stock
scripts do. Each writes down rows and loss of every step.
"""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, ProjectConfiguration, set_seed
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    get_linear_schedule_with_warmup,
)
from transformers.trainer_utils import get_last_checkpoint

from benchmarks.reliability.attempt import Attempt
from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.run.checkpoints import Saving
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.training.checkpoint import checkpoints
from ernie_cmtl.training.trainer import Trainer as OurTrainer
from ernie_cmtl.verbs.pretrain import pretrain

SAVE_EVERY, ROWS, LENGTH, ROWS_AN_EPOCH = 5, 8, 32, 96
RATE, WARMUP = 1e-3, 2


def ours(attempt: Attempt) -> None:
    """`pretrain` with two tasks in two stages."""
    half = attempt.steps // 2
    budgets = {"knowledge_masking": half // 2, "capitalization": attempt.steps - half - half // 2}
    config = RunConfig.model_validate(
        {
            "run": attempt.folder,
            "corpus": attempt.corpus,
            "stages": [
                {"name": "first", "budgets": {"knowledge_masking": half}},
                {"name": "second", "budgets": budgets},
            ],
            "data": {
                "row_length": LENGTH,
                "rows": ROWS,
                "rows_per_group": ROWS // 2,
                "loader_workers": attempt.loaders,
            },
            "encoder": {
                "layers": 2,
                "hidden_size": 32,
                "attention_heads": 2,
                "maximum_positions": LENGTH,
            },
            "optimizer": {"learning_rate": RATE, "warmup_steps": WARMUP},
            "training": {
                "precision": "fp32",
                "log_every": 1,
                "heldout": {"samples": 8},
                "checkpoints": {"every": SAVE_EVERY},
                "trackers": [],
            },
        }
    )
    step, save = OurTrainer.step, Saving.save

    def watched_step(trainer: OurTrainer, data: Any, *given: Any) -> Any:
        result = step(trainer, data, *given)
        inputs = torch.from_numpy(np.concatenate([group.token_ids for group in data.groups]))
        attempt.took(data.step + 1, float(result.loss), [], inputs)
        return result

    def watched_save(saving: Saving, trainer: OurTrainer, *given: Any) -> None:
        with attempt.saving():
            save(saving, trainer, *given)

    with patch.object(OurTrainer, "step", watched_step), patch.object(Saving, "save", watched_save):
        pretrain(config, Observer())
    last = checkpoints(attempt.folder / "checkpoints")[-1]
    attempt.ended(load_file(last / "model.safetensors"), load_file(last / "optimizer.safetensors"))


class Rows(Dataset[dict[str, Any]]):
    """Rows of running text, full, with their numbers."""

    def __init__(self, corpus: Corpus) -> None:
        arrays = [shard["token_ids"] for shard in corpus.split("train").arrays]
        self.tokens = np.concatenate(arrays).astype(np.int64)
        self.ends = corpus.vocabulary.cls_id, corpus.vocabulary.sep_id

    def __len__(self) -> int:
        return ROWS_AN_EPOCH

    def __getitem__(self, number: int) -> dict[str, Any]:
        inner = self.tokens[number * (LENGTH - 2) : (number + 1) * (LENGTH - 2)].tolist()
        return {"input_ids": [self.ends[0], *inner, self.ends[1]], "row": number}


class Collator:
    """Masks tokens and keeps the numbers of the rows."""

    def __init__(self, corpus: Corpus) -> None:
        self.mask = DataCollatorForLanguageModeling(corpus.tokenizer, mlm_probability=0.15)

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        rows = torch.tensor([example.pop("row") for example in examples])
        return dict(self.mask(examples)) | {"row": rows}


def bert(corpus: Corpus) -> BertForMaskedLM:
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
    }
    return BertForMaskedLM(
        BertConfig(vocab_size=corpus.vocabulary.size, max_position_embeddings=LENGTH, **sizes)
    )


def moments_of(optimizer: Any) -> dict[str, Tensor]:
    states = optimizer.state_dict()["state"].items()
    return {
        f"{number}|{name}": torch.as_tensor(value)
        for number, state in states
        for name, value in state.items()
    }


def huggingface(attempt: Attempt) -> None:
    """`Trainer`, with what `run_mlm.py` does to go on: the last checkpoint of the folder, if it has
    one.
    """
    corpus = Corpus(attempt.corpus)
    output = attempt.folder / "checkpoints"

    class Watched(Trainer):
        def training_step(self, model: Any, inputs: dict[str, Any], *given: Any) -> Tensor:
            rows = inputs.pop("row").tolist()
            tokens = inputs["input_ids"].clone()
            loss = super().training_step(model, inputs, *given)
            attempt.took(self.state.global_step + 1, float(loss), rows, tokens)
            return loss

        def _save_checkpoint(self, *given: Any) -> None:
            with attempt.saving():
                super()._save_checkpoint(*given)

    settings = TrainingArguments(
        output_dir=str(output),
        max_steps=attempt.steps,
        per_device_train_batch_size=ROWS // attempt.workers,
        dataloader_num_workers=attempt.loaders,
        learning_rate=RATE,
        warmup_steps=WARMUP,
        save_steps=SAVE_EVERY,
        save_total_limit=2,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=True,
        seed=1,
    )
    set_seed(1)
    trainer = Watched(
        bert(corpus), settings, data_collator=Collator(corpus), train_dataset=Rows(corpus)
    )
    trainer.train(resume_from_checkpoint=bool(output.is_dir() and get_last_checkpoint(str(output))))
    attempt.ended(trainer.model.state_dict(), moments_of(trainer.optimizer))


class Progress:
    """Steps done, registered to be saved with the rest."""

    step = 0

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["step"]


def plain_accelerate(attempt: Attempt, seedable: bool = False) -> None:
    """A loop as in accelerate's example of checkpoints, with its automatic names; seedable: its
    sampler that knows the epoch.
    """
    corpus = Corpus(attempt.corpus)
    naming = ProjectConfiguration(
        str(attempt.folder), automatic_checkpoint_naming=True, total_limit=2
    )
    loading = DataLoaderConfiguration(use_seedable_sampler=seedable)
    accelerator = Accelerator(cpu=True, project_config=naming, dataloader_config=loading)
    set_seed(1)
    model = bert(corpus)
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    rows = DataLoader(
        Rows(corpus),
        ROWS // attempt.workers,
        shuffle=True,
        collate_fn=Collator(corpus),
        num_workers=attempt.loaders,
    )
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, attempt.steps)
    model, optimizer, rows, schedule = accelerator.prepare(model, optimizer, rows, schedule)
    progress = Progress()
    accelerator.register_for_checkpointing(progress)
    saved = attempt.folder / "checkpoints"
    if saved.is_dir() and (
        numbers := [int(path.name.removeprefix("checkpoint_")) for path in saved.iterdir()]
    ):
        accelerator.load_state()
        accelerator.project_configuration.iteration = max(numbers) + 1
    while progress.step < attempt.steps:
        epoch, done = divmod(progress.step, len(rows))
        if seedable:
            rows.set_epoch(epoch)
        for batch in accelerator.skip_first_batches(rows, done) if done else rows:
            numbers, tokens = batch.pop("row").tolist(), batch["input_ids"].clone()
            loss = model(**batch).loss
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            progress.step += 1
            attempt.took(progress.step, float(loss.detach()), numbers, tokens)
            if progress.step % SAVE_EVERY == 0:
                with attempt.saving():
                    accelerator.save_state()
            if progress.step == attempt.steps:
                break
    attempt.ended(accelerator.unwrap_model(model).state_dict(), moments_of(optimizer))


def seedable_accelerate(attempt: Attempt) -> None:
    plain_accelerate(attempt, seedable=True)


SIDES: dict[str, Callable[[Attempt], None]] = {
    "ours": ours,
    "Trainer": huggingface,
    "accelerate": plain_accelerate,
    "accelerate, seedable sampler": seedable_accelerate,
}
