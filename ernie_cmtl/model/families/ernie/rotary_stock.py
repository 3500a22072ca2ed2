"""Weights between our Ernie with rotary positions and the stock class that computes the same:
JinaEmbeddingsV3 of transformers (post-norm, rotary, segments, pooler).
"""

from collections.abc import Mapping

from torch import Tensor
from transformers import JinaEmbeddingsV3Config, JinaEmbeddingsV3ForMaskedLM

from ernie_cmtl.head_kinds import StockHead
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.families.ernie.stock import NAMES, SEGMENT_TYPES
from ernie_cmtl.model.task_embedding import fold_task_row
from ernie_cmtl.records import Vocabulary

KIND = "jina_embeddings_v3"
_LAYER = {
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.o_proj",
    "attention.output.LayerNorm": "post_attention_layernorm",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "output.LayerNorm": "post_mlp_layernorm",
}
"""Part of a layer of ErnieForMaskedLM -> its name in the stock class."""
_HEAD = {
    "cls.predictions.transform.dense": "lm_head.dense",
    "cls.predictions.transform.LayerNorm": "lm_head.layer_norm",
    "cls.predictions": "lm_head",
}


def config_of(config: EncoderConfig, vocabulary: Vocabulary) -> JinaEmbeddingsV3Config:
    """Return the config of the stock class; config: sized."""
    return JinaEmbeddingsV3Config(
        **{theirs: getattr(config, ours) for ours, theirs in NAMES.items()},
        vocab_size=vocabulary.size,
        pad_token_id=vocabulary.pad_id,
        bos_token_id=vocabulary.cls_id,
        eos_token_id=vocabulary.sep_id,
        type_vocab_size=SEGMENT_TYPES,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=0.0,
        initializer_range=config.initializer_range,
        rope_parameters={"rope_type": "default", "rope_theta": config.rotary_base},
        architectures=["JinaEmbeddingsV3ForMaskedLM"],
    )


def state_of(ernie: Mapping[str, Tensor], task_row: int) -> dict[str, Tensor]:
    """Return weights that are named as in ErnieForMaskedLM under the stock class's names, with one
    row of the task embedding folded into the segments.
    """
    folded = fold_task_row(ernie, task_row)
    state = {_their_name(name): value for name, value in folded.items()}
    for part in ("weight", "bias"):
        # The class for sequences has no pooler. Its own first layer computes the same, so it begins
        # with what the pooler has learned.
        state[f"classifier.dense.{part}"] = state[f"roberta.pooler.dense.{part}"].clone()
    return state


def classifier_of(kind: StockHead, linear: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a linear head under the names of the stock class for such heads."""
    # Of a sequence, the dense layer before it is the pooler, which `state_of` puts there.
    place = "classifier.out_proj" if kind == "SequenceClassification" else "classifier"
    return {f"{place}.{name}": value for name, value in linear.items()}


def _their_name(name: str) -> str:
    stem, _, part = name.rpartition(".")
    if stem in _HEAD:
        return f"{_HEAD[stem]}.{part}"
    if stem.startswith("ernie.encoder.layer."):
        number, _, inner = stem.removeprefix("ernie.encoder.layer.").partition(".")
        return f"roberta.layers.{number}.{_LAYER[inner]}.{part}"
    return name.replace("ernie.", "roberta.", 1)


def with_our_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of the stock class, without its prefix, under the names of ErnieForMaskedLM
    without prefix.
    """
    return {our_name(name): value for name, value in weights.items()}


def our_name(name: str) -> str:
    """Return the name that a weight of the stock class, without prefix, has in ErnieForMaskedLM."""
    stem, _, part = name.rpartition(".")
    for ours, theirs in _HEAD.items():
        if stem == theirs:
            return f"{ours}.{part}"
    if stem.startswith("layers."):
        number, _, inner = stem.removeprefix("layers.").partition(".")
        ours = next(key for key, theirs in _LAYER.items() if theirs == inner)
        return f"encoder.layer.{number}.{ours}.{part}"
    return name


def model_of(
    config: JinaEmbeddingsV3Config, state: dict[str, Tensor]
) -> JinaEmbeddingsV3ForMaskedLM:
    """Return a stock model for masked tokens that scores padded sequences."""
    model = JinaEmbeddingsV3ForMaskedLM(config)
    # Pooler and classifier have no place in this class.
    model.load_state_dict(state, strict=False)
    model.train(False)
    return model
