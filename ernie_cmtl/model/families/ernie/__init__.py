"""Ernie: transformers' own ErnieModel with a task embedding whose rows are parameters of their
own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import ErnieConfig, ErnieForMaskedLM, ErnieModel
from transformers.models.ernie.modeling_ernie import ErniePredictionHeadTransform

from ernie_cmtl.head_kinds.vocabulary import VocabularyHead
from ernie_cmtl.model.encoder import EncodedBatch, EncoderFamily, LayerWeights, ReadPlaces
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.families.ernie import stock
from ernie_cmtl.model.families.ernie.last_layer import replace_last_layer
from ernie_cmtl.model.families.ernie.stock import NAMES, SEGMENT_TYPES
from ernie_cmtl.model.kernels import packed_attention
from ernie_cmtl.model.kernels.dropout import replace_dropout
from ernie_cmtl.model.pretrained import checkpoint_weights, pretrained_config
from ernie_cmtl.model.task_embedding import TASK_ROWS, TaskEmbedding
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.randomness import derive_key
from ernie_cmtl.records import Vocabulary


class Ernie(EncoderFamily):
    """Post-norm layers, learned positions, segments and a pooler, as in ERNIE 2.0 and BERT."""

    module: ErnieModel

    def __init__(self, config: EncoderConfig, vocabulary: Vocabulary, seed: int) -> None:
        """Make a freshly initialised encoder; the same seed gives the same weights."""
        self.config = self.sized(config)
        self.vocabulary_size = vocabulary.size
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
        if config.task_embedding == "off":
            # Taken away rather than never made, so that all other weights start as they do with it.
            del self.module.embeddings.task_type_embeddings
            self.module.embeddings.use_task_id = self.module.config.use_task_id = False

    @classmethod
    def sized(cls, config: EncoderConfig) -> EncoderConfig:
        """Return the settings with the sizes of the checkpoint, or with the usual inner width."""
        if config.init_from:
            found = pretrained_config(config.init_from)
            return config.model_copy(
                update={ours: getattr(found, theirs) for ours, theirs in NAMES.items()}
            )
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

    def encode(self, batch: TensorBatch, read: ReadPlaces | None, inner: bool) -> EncodedBatch:
        """Run the encoder; its last layer only where it is read."""
        output: Any = self.module(
            input_ids=batch.token_ids,
            token_type_ids=batch.token_type_ids,
            task_type_ids=batch.task_type_ids,
            position_ids=batch.position_ids,
            packed_layout=batch.layout,
            read=read,
            output_hidden_states=inner,
            use_cache=False,
        )
        unread = 0.0 * output.pooler_output.sum()
        return EncodedBatch(output.last_hidden_state, output.hidden_states or (), unread)

    def sequence_states(self, states: Tensor) -> Tensor:
        """Put states of [CLS] places through the pooler."""
        # It takes the first place of each sequence.
        return cast(Tensor, self.sequence_transform(states.unsqueeze(-2)))

    @classmethod
    def read_checkpoint(cls, init_from: str) -> tuple[dict[str, Tensor], list[str]]:
        """Return the weights of a BERT or Ernie checkpoint under Ernie's names without prefix."""
        return checkpoint_weights(init_from)

    def load_checkpoint(self, weights: Mapping[str, Tensor], head: VocabularyHead) -> list[str]:
        """Copy the weights into encoder and vocabulary head; return what stays fresh."""
        fresh = stock.load_encoder(self.module, self.task_rows, weights)
        stock.load_vocabulary_head(head, weights)
        return fresh

    def stock_config(self) -> ErnieConfig:
        """Return the config of ErnieForMaskedLM."""
        return stock.config_of(self.module)

    def stock_state(self, head: VocabularyHead) -> dict[str, Tensor]:
        """Return the weights of ErnieForMaskedLM, with the pooler that AutoModel looks for."""
        return stock.state_of(self.module, self.task_rows, head)

    def stock_model(self, head: VocabularyHead) -> ErnieForMaskedLM:
        """Return ErnieForMaskedLM with the weights of encoder and head."""
        return stock.model_of(self.stock_config(), self.stock_state(head))
