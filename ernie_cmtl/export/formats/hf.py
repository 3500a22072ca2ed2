"""transformers: the stock class of the encoder's family loads it."""

from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModel, AutoModelForMaskedLM, PreTrainedModel

from ernie_cmtl.export.writer import ExportFormat, TrainedModel
from ernie_cmtl.model.pretrained import quiet_loading
from ernie_cmtl.model.task_parameters import kept_beside_export

_LARGEST_DIFFERENCE = 1e-5
_LENGTH = 64
_USAGE = """It loads with the stock classes of
transformers.

```python
from transformers import AutoModel, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path)
inputs = tokenizer("...", return_tensors="pt")
{call}
```

`pretraining.json` names the heads kept in `pretraining_heads.safetensors`."""
_CALL = "outputs = model(**inputs)"
_CALL_WITH_TASK = """task = 0  # row of the task embedding: see the table
outputs = model(**inputs, task_type_ids=torch.full_like(inputs["input_ids"], task))"""


class HuggingFace(ExportFormat):
    """Weights, config and tokenizer for `from_pretrained`, the other heads beside them."""

    def write(self, folder: Path, trained: TrainedModel) -> None:
        """Write weights as safetensors, the config, the tokenizer and the pretraining heads."""
        family, head = trained.model.family, trained.model.vocabulary_head
        family.stock_config().save_pretrained(folder)
        state = family.stock_state(head)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        trained.tokenizer.model_max_length = family.config.maximum_positions
        trained.tokenizer.save_pretrained(folder)
        if weights := kept_beside_export(trained.model):
            save_file(weights, folder / "pretraining_heads.safetensors")

    @torch.no_grad()
    def verify(self, folder: Path, trained: TrainedModel) -> dict[str, Any]:
        """Load it with both Auto classes; return the largest difference of a logit between the
        stock model in memory and the one that loads.
        """
        family, head = trained.model.family, trained.model.vocabulary_head
        with quiet_loading():
            loaded, report = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
            encoder, about_encoder = AutoModel.from_pretrained(folder, output_loading_info=True)
        if missing := sorted({*report["missing_keys"], *about_encoder["missing_keys"]}):
            raise RuntimeError(f"the export lacks weights: {', '.join(missing)}")
        _check_weights(encoder, family.stock_state(head))
        models, token_ids = (family.stock_model(head), loaded.train(False)), _token_ids(trained)
        difference = 0.0
        for options in _views(loaded, token_ids):
            scores = [model(input_ids=token_ids, **options).logits for model in models]
            difference = max(difference, float((scores[0] - scores[1]).abs().max()))
        if difference > _LARGEST_DIFFERENCE:
            raise RuntimeError(
                f"the reloaded export computes other logits: they differ by up to {difference}"
            )
        return {"max_abs_logit_difference": difference}

    def usage(self, trained: TrainedModel) -> str:
        """Say how to load it, and how to name a task where the stock class takes one."""
        takes_task = getattr(trained.model.family.stock_config(), "use_task_id", False)
        return _USAGE.format(call=_CALL_WITH_TASK if takes_task else _CALL)


def _check_weights(encoder: PreTrainedModel, state: dict[str, Tensor]) -> None:
    """Compare the bare encoder's weights, with those that the class for masked tokens lacks."""
    prefix = encoder.base_model_prefix
    for name, value in encoder.state_dict().items():
        if not torch.equal(value.float(), state[f"{prefix}.{name}"]):
            raise RuntimeError(f"{name} of the export is not the trained one")


def _token_ids(trained: TrainedModel) -> Tensor:
    config, size = trained.model.family.config, trained.model.family.vocabulary_size
    length = min(_LENGTH, config.maximum_positions)
    token_ids = torch.arange(2 * length).remainder(size).view(2, length)
    token_ids[:, length // 2] = cast(int, trained.tokenizer.mask_token_id)
    return token_ids


def _views(model: PreTrainedModel, token_ids: Tensor) -> list[dict[str, Tensor]]:
    """Return the keywords of a call for each row of the task embedding that the model has."""
    config = model.config
    rows = config.task_type_vocab_size if getattr(config, "use_task_id", False) else 0
    return [{"task_type_ids": torch.full_like(token_ids, row)} for row in range(rows)] or [{}]
