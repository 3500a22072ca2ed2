"""Ernie: transformers' own ErnieModel with a task embedding whose rows are parameters of their
own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import ErnieConfig, ErnieModel, JinaEmbeddingsV3Config, PreTrainedModel
from transformers.models.ernie.modeling_ernie import ErniePredictionHeadTransform

from ernie_cmtl.errors import UserError
from ernie_cmtl.head_kinds import StockHead
from ernie_cmtl.head_kinds.vocabulary import VocabularyHead
from ernie_cmtl.model.encoder import EncoderFamily, LayerWeights
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.families.ernie import bert_stock, rotary_stock, stock
from ernie_cmtl.model.families.ernie.last_layer import replace_last_layer
from ernie_cmtl.model.families.ernie.stock import NAMES, SEGMENT_TYPES
from ernie_cmtl.model.init_from import checkpoint_weights, pretrained_config
from ernie_cmtl.model.kernels import packed_attention
from ernie_cmtl.model.kernels.dropout import replace_dropout
from ernie_cmtl.model.kernels.rotary import NoPositions, RotaryTable
from ernie_cmtl.model.stock_classes import StockWeights
from ernie_cmtl.model.task_embedding import TASK_ROWS, TaskEmbedding
from ernie_cmtl.model.tensor_batch import TensorBatch, TensorPlaces
from ernie_cmtl.randomness import derive_key
from ernie_cmtl.records import Vocabulary


class Ernie(EncoderFamily):
    """Post-norm layers, segments and a pooler, as in ERNIE 2.0 and BERT; positions are learned, as
    there, or rotary.
    """

    positions = ("learned", "rotary")
    module: ErnieModel

    def __init__(self, config: EncoderConfig, vocabulary: Vocabulary, seed: int) -> None:
        """Make a freshly initialised encoder; the same seed gives the same weights."""
        self.config, self._vocabulary = self.sized(config), vocabulary
        self.vocabulary_size = vocabulary.size
        self._rotary = (
            RotaryTable(
                self.config.hidden_size // self.config.attention_heads,
                self.config.rotary_base,
                self.config.maximum_positions,
            )
            if self.config.positions == "rotary"
            else None
        )
        settings = ErnieConfig(
            **{theirs: getattr(self.config, ours) for ours, theirs in NAMES.items()},
            vocab_size=vocabulary.size,
            pad_token_id=vocabulary.pad_id,
            type_vocab_size=SEGMENT_TYPES,
            use_task_id=True,
            task_type_vocab_size=TASK_ROWS,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=0.0,
            initializer_range=config.initializer_range,
        )
        settings._attn_implementation = packed_attention.NAME
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_key(seed, "encoder") >> 1)
            self.module = ErnieModel(settings)
            rows = TaskEmbedding(TASK_ROWS, settings.hidden_size, config.initializer_range)
            self.module.embeddings.set_submodule("task_type_embeddings", rows)
            replace_last_layer(self.module)
        replace_dropout(self.module)
        # Taken away rather than never made, so that all other weights start as they do with them.
        if self._rotary:
            self.module.embeddings.set_submodule("position_embeddings", NoPositions())
        if config.task_embedding == "off":
            del self.module.embeddings.task_type_embeddings
            self.module.embeddings.use_task_id = self.module.config.use_task_id = False

    @classmethod
    def settled(cls, config: EncoderConfig) -> EncoderConfig:
        """Return the settings with learned positions where none are set."""
        config = super().settled(config)
        if config.positions == "rotary" and config.activation != "gelu" and not config.init_from:
            raise UserError(
                f"positions 'rotary' goes with activation 'gelu', not {config.activation!r}: the "
                "class of transformers that exports load with has no other"
            )
        return config

    @classmethod
    def sized(cls, config: EncoderConfig) -> EncoderConfig:
        """Return the settings with the sizes of the checkpoint, or with the usual inner width."""
        config = cls.settled(config)
        if config.init_from:
            found = pretrained_config(config.init_from, config.positions)
            sizes = {ours: getattr(found, theirs) for ours, theirs in NAMES.items()}
            if config.positions == "rotary":
                sizes["rotary_base"] = found.rope_parameters["rope_theta"]
            return config.model_copy(update=sizes)
        inner = config.intermediate_size or 4 * config.hidden_size
        return config.model_copy(update={"intermediate_size": inner})

    @classmethod
    def weights_of_layer(cls, config: EncoderConfig) -> LayerWeights:
        """Queries, keys and values; then the output of attention and the two matrices around the
        activation.
        """
        hidden = config.hidden_size
        inner = config.intermediate_size or 4 * hidden
        return LayerWeights(3 * hidden * hidden, hidden * hidden + 2 * hidden * inner)

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The layers in order."""
        return cast(Sequence[nn.Module], self.module.encoder.layer)

    @property
    def word_embeddings(self) -> Tensor:
        """The table that the vocabulary head is tied to."""
        return self.module.embeddings.word_embeddings.weight

    @property
    def task_rows(self) -> tuple[nn.Parameter, ...]:
        """Rows of the task embedding; none where it is off."""
        embedding = getattr(self.module.embeddings, "task_type_embeddings", None)
        return tuple(cast(TaskEmbedding, embedding).rows) if embedding is not None else ()

    @property
    def sequence_transform(self) -> nn.Module:
        """The pooler."""
        assert self.module.pooler is not None
        return self.module.pooler

    def vocabulary_transform(self) -> nn.Module:
        """Make a linear layer, an activation and a norm."""
        return ErniePredictionHeadTransform(self.module.config)  # type: ignore[no-untyped-call]

    def embed(self, batch: TensorBatch) -> Tensor:
        """Add up words, segments, tasks and learned positions."""
        embedded: Tensor = self.module.embeddings(
            input_ids=batch.token_ids,
            token_type_ids=batch.token_type_ids,
            task_type_ids=batch.task_type_ids,
            position_ids=batch.position_ids,
        )
        return embedded

    def layer_inputs(self, places: TensorPlaces) -> dict[str, Any]:
        """Return what attention needs to know of the places."""
        rotation = self._rotary and self._rotary.at(places.position_ids)
        return {"packed_layout": places.layout, "rotation": rotation}

    def sequence_states(self, states: Tensor) -> Tensor:
        """Put states of [CLS] places through the pooler."""
        # It takes the first place of each sequence.
        return cast(Tensor, self.sequence_transform(states.unsqueeze(-2)))

    @classmethod
    def read_checkpoint(cls, config: EncoderConfig) -> tuple[dict[str, Tensor], list[str]]:
        """Return the weights of a BERT or Ernie checkpoint, or of an export with rotary positions,
        under Ernie's names without prefix.
        """
        config = cls.settled(config)
        weights, missing = checkpoint_weights(str(config.init_from), config.positions)
        if config.positions == "rotary":
            weights = rotary_stock.with_our_names(weights)
            missing = [rotary_stock.our_name(name) for name in missing]
        return weights, missing

    def load_checkpoint(self, weights: Mapping[str, Tensor], head: VocabularyHead) -> list[str]:
        """Copy the weights into encoder and vocabulary head; return what stays fresh."""
        fresh = stock.load_encoder(self.module, self.task_rows, weights)
        stock.load_vocabulary_head(head, weights)
        return fresh

    @property
    def folds_task(self) -> bool:
        """The class with rotary positions takes no task."""
        return self._rotary is not None

    def stock_config(self) -> ErnieConfig | JinaEmbeddingsV3Config:
        """Return the config of ErnieForMaskedLM, or of JinaEmbeddingsV3ForMaskedLM."""
        if self._rotary:
            return rotary_stock.config_of(self.config, self._vocabulary)
        return stock.config_of(self.module)

    def stock_state(self, head: VocabularyHead, task_row: int) -> dict[str, Tensor]:
        """Return the weights of that class, with the pooler that AutoModel looks for."""
        state = stock.state_of(self.module, self.task_rows, head)
        return rotary_stock.state_of(state, task_row) if self._rotary else state

    def stock_model(self, head: VocabularyHead, task_row: int) -> PreTrainedModel:
        """Return that class with the weights of encoder and head."""
        config, state = self.stock_config(), self.stock_state(head, task_row)
        if isinstance(config, JinaEmbeddingsV3Config):
            return rotary_stock.model_of(config, state)
        return stock.model_of(config, state)

    def without_tasks(self, head: VocabularyHead, task_row: int) -> StockWeights:
        """Return BertForMaskedLM for learned positions, JinaEmbeddingsV3ForMaskedLM for rotary
        ones.
        """
        if self._rotary:
            return super().without_tasks(head, task_row)
        state = bert_stock.state_of(self.stock_state(head, task_row), task_row)
        return StockWeights(bert_stock.config_of(stock.config_of(self.module)), state)

    def stock_classifier(self, kind: StockHead, linear: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a linear head as BERT or JinaEmbeddingsV3 names them."""
        if self._rotary:
            return rotary_stock.classifier_of(kind, linear)
        return super().stock_classifier(kind, linear)
