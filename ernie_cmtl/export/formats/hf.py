"""transformers: the stock class of the encoder's family loads it."""

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModel, AutoModelForMaskedLM, PreTrainedModel

from ernie_cmtl.export.card import CardFacts
from ernie_cmtl.export.classifier import Classifier
from ernie_cmtl.export.probe import Probe, check_close, largest
from ernie_cmtl.export.stock_models import stock_model
from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.export.writer import ExportFormat
from ernie_cmtl.model.stock_classes import StockClasses, StockWeights
from ernie_cmtl.model.task_parameters import kept_beside_export, task_table
from ernie_cmtl.pretrained.weights import quiet_loading

TASK_EMBEDDING = "task_embedding.safetensors"
"""All rows of the task embedding, where one of them is folded into the weights."""
_LENGTHS = (64, 40)
_USAGE = """It loads with the stock classes of
transformers 5.17 or newer (written with {version}).

```python
{imports}from transformers import AutoModel, AutoTokenizer

path = "."  # this folder, or its name on the Hub
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
FOLDED = """
The weights hold the view of one task, `{task}` (row {row}): its row of the task embedding is
part of the embeddings, and the model takes no task ids. `{file}` holds all rows.
`export --task NAME` writes the view of another task.
"""


class HuggingFace(ExportFormat):
    """Weights, config and tokenizer for `from_pretrained`, the other heads beside them."""

    takes_heads = True

    def folds_task(self, family: StockClasses) -> bool:
        """Only where the family's own stock class takes no task."""
        return family.folds_task

    def stock(self, trained: TrainedModel) -> StockWeights:
        """Return what is written."""
        family = trained.model.family
        state = family.stock_state(trained.model.vocabulary_head, trained.task_row)
        return StockWeights(family.stock_config(), state)

    def check(self, trained: TrainedModel) -> None:
        """Refuse a head that the encoder's stock class does not take."""
        if trained.head:
            Classifier(trained, trained.head).config()

    def write(self, folder: Path, trained: TrainedModel) -> None:
        """Write weights as safetensors, the config and the tokenizer; without a head of its own,
        also the pretraining heads, and the task embedding where the class has no place for it.
        """
        trained.save_tokenizer(folder)
        if trained.head:
            Classifier(trained, trained.head).save(folder)
            return
        model, (config, state) = trained.model, self.stock(trained)
        config.save_pretrained(folder)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        if weights := kept_beside_export(model, trained.tasks_of_view):
            save_file(weights, folder / "pretraining_heads.safetensors")
        if self.folds_task(model.family) and model.family.task_rows:
            save_file({"rows": task_table(model.family)}, folder / TASK_EMBEDDING)

    @torch.no_grad()
    def verify(self, folder: Path, trained: TrainedModel) -> dict[str, Any]:
        """Load it with both Auto classes; return the largest difference of a logit between the
        stock model in memory and the one that loads, and those of log-probabilities and hidden
        states between the run and what loads. Of a head: that of its logits from the run's.
        """
        if trained.head:
            return Classifier(trained, trained.head).verify(folder)
        model = trained.model.train(False)
        with quiet_loading():
            loaded, report = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
            encoder, about_encoder = AutoModel.from_pretrained(folder, output_loading_info=True)
        if missing := sorted({*report["missing_keys"], *about_encoder["missing_keys"]}):
            raise RuntimeError(f"the export lacks weights: {', '.join(missing)}")
        weights = self.stock(trained)
        _check_weights(encoder, weights.state)
        stock, probe = stock_model(AutoModelForMaskedLM, weights), Probe.of(trained, _LENGTHS)
        differences = dict.fromkeys(("logit", "log_probability", "hidden_state"), 0.0)
        for row, options in self._views(trained, probe):
            logits = loaded.train(False)(**probe.inputs, **options).logits
            states = encoder.train(False)(**probe.inputs, **options).last_hidden_state
            packed, again = probe.packed(row), stock(**probe.inputs, **options).logits
            scores = model.masked_token_scores(packed).log_softmax(-1)
            found = {
                "logit": largest(logits, again),
                "log_probability": largest(probe.at_tokens(logits).log_softmax(-1), scores),
                "hidden_state": largest(
                    probe.at_tokens(states), model.family.encode(packed, None, False).last[0]
                ),
            }
            differences = {name: max(value, found[name]) for name, value in differences.items()}
        return check_close(differences)

    def _views(self, trained: TrainedModel, probe: Probe) -> list[tuple[int, dict[str, Tensor]]]:
        """Return the rows of the task embedding to compare, and how the stock class is told of
        each.
        """
        family = trained.model.family
        if self.folds_task(family) or not family.task_rows:
            return [(trained.task_row, {})]
        rows = {trained.task_row, *trained.about["tasks"].values(), len(family.task_rows) - 1}
        return [
            (row, {"task_type_ids": torch.full_like(probe.token_ids, row)}) for row in sorted(rows)
        ]

    def facts(self, trained: TrainedModel) -> CardFacts:
        """Say how to load it, how to name a task, and which one it holds where none is named."""
        if trained.head:
            return Classifier(trained, trained.head).facts()
        family = trained.model.family
        folds, has_rows = self.folds_task(family), bool(family.task_rows)
        row = trained.task_row if folds else 0
        names = {row: task for task, row in trained.about["tasks"].items()}
        about_row = (FOLDED if folds else _ROW_0).format(
            task=names.get(row, "-"), row=row, file=TASK_EMBEDDING
        )
        usage = _USAGE.format(
            version=transformers.__version__,
            imports="import torch\n" if has_rows and not folds else "",
            call=_CALL_WITH_TASK if has_rows and not folds else _CALL,
            about_row=about_row if has_rows else "",
        )
        return CardFacts(usage, pipeline="fill-mask", tags=("fill-mask",))


def _check_weights(encoder: PreTrainedModel, state: dict[str, Tensor]) -> None:
    """Compare the bare encoder's weights, with those that the class for masked tokens lacks."""
    prefix = encoder.base_model_prefix
    for name, value in encoder.state_dict().items():
        if not torch.equal(value.float(), state[f"{prefix}.{name}"]):
            raise RuntimeError(f"{name} of the export is not the trained one")
