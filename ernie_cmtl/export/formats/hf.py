"""transformers: the stock class of the encoder's family loads it."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModel, AutoModelForMaskedLM, PreTrainedModel

from ernie_cmtl.export.writer import ExportFormat, TrainedModel
from ernie_cmtl.model.task_parameters import kept_beside_export, task_table
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.pretrained.weights import quiet_loading
from ernie_cmtl.records import Batch

TASK_EMBEDDING = "task_embedding.safetensors"
"""All rows of the task embedding, where one of them is folded into the weights."""
_LARGEST_DIFFERENCE = 1e-4
"""Of log-probabilities and hidden states, float32: packed here, padded there."""
_LENGTH = 64
_USAGE = """It loads with the stock classes of
transformers 5.17 or newer (written with {version}).

```python
from transformers import AutoModel, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path)
inputs = tokenizer("...", return_tensors="pt")
{call}
```
{about_row}
`pretraining.json` names the heads kept in `pretraining_heads.safetensors`."""
_CALL = "outputs = model(**inputs)"
_CALL_WITH_TASK = """task = 0  # row of the task embedding: see the table
outputs = model(**inputs, task_type_ids=torch.full_like(inputs["input_ids"], task))"""
_ROW_0 = """
A program that passes no `task_type_ids`, such as a pipeline or sentence-transformers, gets row 0,
`{task}`. To give it another row, copy that row into row 0 once, before you save or use the model:

```python
rows = model.base_model.embeddings.task_type_embeddings.weight.data
rows[0] = rows[task]
```
"""
_FOLDED = """
The weights hold the view of one task, `{task}` (row {row}): its row of the task embedding is
part of the embeddings, and the model takes no task ids. `{file}` holds all rows.
`export --task NAME` writes the view of another task.
"""


class HuggingFace(ExportFormat):
    """Weights, config and tokenizer for `from_pretrained`, the other heads beside them."""

    def write(self, folder: Path, trained: TrainedModel) -> None:
        """Write weights as safetensors, the config, the tokenizer, the pretraining heads, and the
        task embedding where the stock class has no place for it.
        """
        model, family = trained.model, trained.model.family
        family.stock_config().save_pretrained(folder)
        state = family.stock_state(model.vocabulary_head, trained.task_row)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        trained.tokenizer.model_max_length = family.config.maximum_positions
        trained.tokenizer.save_pretrained(folder)
        if weights := kept_beside_export(model, trained.tasks_of_view):
            save_file(weights, folder / "pretraining_heads.safetensors")
        if family.folds_task and family.task_rows:
            save_file({"rows": task_table(family)}, folder / TASK_EMBEDDING)

    @torch.no_grad()
    def verify(self, folder: Path, trained: TrainedModel) -> dict[str, Any]:
        """Load it with both Auto classes; return the largest difference of a logit between the
        stock model in memory and the one that loads, and those of log-probabilities and hidden
        states between the run and what loads.
        """
        trained.model.train(False)
        family, head = trained.model.family, trained.model.vocabulary_head
        with quiet_loading():
            loaded, report = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
            encoder, about_encoder = AutoModel.from_pretrained(folder, output_loading_info=True)
        if missing := sorted({*report["missing_keys"], *about_encoder["missing_keys"]}):
            raise RuntimeError(f"the export lacks weights: {', '.join(missing)}")
        _check_weights(encoder, family.stock_state(head, trained.task_row))
        token_ids = _token_ids(trained)
        stock = family.stock_model(head, trained.task_row)
        differences = dict.fromkeys(("logit", "log_probability", "hidden_state"), 0.0)
        for row, options in _views(trained, token_ids):
            logits = loaded.train(False)(input_ids=token_ids, **options).logits
            states = encoder.train(False)(input_ids=token_ids, **options).last_hidden_state
            packed = _packed(token_ids, row)
            found = {
                "logit": stock(input_ids=token_ids, **options).logits - logits,
                "log_probability": _log_probabilities(trained.model.masked_token_scores(packed))
                - _log_probabilities(logits.flatten(0, 1)),
                "hidden_state": trained.model.family.encode(packed, None, False).last.flatten(0, 1)
                - states.flatten(0, 1),
            }
            for name, difference in found.items():
                differences[name] = max(differences[name], float(difference.abs().max()))
        if max(differences.values()) > _LARGEST_DIFFERENCE:
            raise RuntimeError(
                f"the reloaded export does not compute what the run does: {differences}"
            )
        return {f"max_abs_{name}_difference": value for name, value in differences.items()}

    def usage(self, trained: TrainedModel) -> str:
        """Say how to load it, how to name a task, and which one it holds where none is named."""
        family = trained.model.family
        names = {row: task for task, row in trained.about["tasks"].items()}
        row = trained.task_row if family.folds_task else 0
        said = _FOLDED if family.folds_task else _ROW_0
        about_row = said.format(task=names.get(row, "-"), row=row, file=TASK_EMBEDDING)
        has_rows = bool(family.task_rows)
        return _USAGE.format(
            version=transformers.__version__,
            call=_CALL_WITH_TASK if has_rows and not family.folds_task else _CALL,
            about_row=about_row if has_rows else "",
        )


def _check_weights(encoder: PreTrainedModel, state: dict[str, Tensor]) -> None:
    """Compare the bare encoder's weights, with those that the class for masked tokens lacks."""
    prefix = encoder.base_model_prefix
    for name, value in encoder.state_dict().items():
        if not torch.equal(value.float(), state[f"{prefix}.{name}"]):
            raise RuntimeError(f"{name} of the export is not the trained one")


def _token_ids(trained: TrainedModel) -> Tensor:
    """Return two sequences of many tokens; int64 [2, length]."""
    config, size = trained.model.family.config, trained.model.family.vocabulary_size
    length = min(_LENGTH, config.maximum_positions)
    token_ids = torch.arange(2 * length).remainder(size).view(2, length)
    token_ids[:, length // 2] = cast(int, trained.tokenizer.mask_token_id)
    return token_ids


def _views(trained: TrainedModel, token_ids: Tensor) -> list[tuple[int, dict[str, Tensor]]]:
    """Return the rows of the task embedding to compare, and how the stock class is told of each."""
    family = trained.model.family
    if family.folds_task or not family.task_rows:
        return [(trained.task_row, {})]
    rows = {trained.task_row, *trained.about["tasks"].values(), len(family.task_rows) - 1}
    return [(row, {"task_type_ids": torch.full_like(token_ids, row)}) for row in sorted(rows)]


def _packed(token_ids: Tensor, row: int) -> TensorBatch:
    """Return the sequences in one row, as the run sees them; row: of the task embedding."""
    number, length = token_ids.shape
    flat = token_ids.reshape(1, -1).numpy()
    places = np.tile(np.arange(length), number)[None]
    starts, lengths = np.arange(number) * length, np.full(number, length)
    batch = Batch(flat, np.zeros_like(flat), np.full_like(flat, row), places, starts, lengths, {})
    return TensorBatch.of(batch, torch.device("cpu"))


def _log_probabilities(scores: Tensor) -> Tensor:
    return scores.log_softmax(-1)
