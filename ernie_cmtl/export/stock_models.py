"""Stock classes of transformers, filled with weights."""

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from ernie_cmtl.model.stock_classes import StockWeights


def stock_model(auto: Any, stock: StockWeights) -> PreTrainedModel:
    """Return a model of an Auto class, the bare encoder's or one with a head, ready to score.

    Raises:
        RuntimeError: The weights lack one that the class has.
    """
    model: PreTrainedModel = auto.from_config(stock.config)
    prefix = f"{model.base_model_prefix}."
    state: dict[str, Tensor] = stock.state
    if model.base_model is model:
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    missing = model.load_state_dict(state, strict=False).missing_keys
    parameters = dict(model.named_parameters(remove_duplicate=False))
    # A tied weight is loaded under its other name.
    loaded = {id(parameters[name]) for name in state if name in parameters}
    if lacking := [
        name for name in missing if name in parameters and id(parameters[name]) not in loaded
    ]:
        raise RuntimeError(f"the export lacks weights: {', '.join(sorted(lacking))}")
    model.train(False)
    return model
