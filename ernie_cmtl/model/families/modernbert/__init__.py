"""ModernBERT: transformers' own ModernBertModel with a task embedding whose rows are parameters of
their own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import ModernBertConfig, ModernBertForMaskedLM, ModernBertModel
from transformers.models.modernbert.modeling_modernbert import ModernBertPredictionHead

from ernie_cmtl.errors import UserError
from ernie_cmtl.head_kinds import StockHead
from ernie_cmtl.head_kinds.vocabulary import VocabularyHead
from ernie_cmtl.model.encoder import EncoderFamily, LayerWeights
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.families.modernbert import stock
from ernie_cmtl.model.families.modernbert.layer import PackedLayer, replace_layers
from ernie_cmtl.model.kernels.dropout import Dropout, replace_dropout
from ernie_cmtl.model.kernels.rotary import RotaryTable
from ernie_cmtl.model.task_embedding import TASK_ROWS, TaskEmbedding
from ernie_cmtl.model.tensor_batch import TensorBatch, TensorPlaces
from ernie_cmtl.randomness import derive_key
from ernie_cmtl.records import Vocabulary

_GLOBAL_EVERY = 3
"""As in ModernBERT, where some layers are local."""


class ModernBert(EncoderFamily):
    """Pre-norm layers with gated activations and rotary positions, of which some may see a window
    only (Warner et al. 2024, arXiv 2412.13663).

    It has no segments: [SEP] alone tells parts of a sequence apart.
    """

    positions = ("rotary",)
    settings = ("local_attention", "global_every", "local_rotary_base")
    module: ModernBertModel

    def __init__(self, config: EncoderConfig, vocabulary: Vocabulary, seed: int) -> None:
        """Make a freshly initialised encoder; the same seed gives the same weights."""
        self.config, self._vocabulary = self.sized(config), vocabulary
        self.vocabulary_size = vocabulary.size
        settings = stock.config_of_encoder(self.config, vocabulary)
        size = self.config.hidden_size // self.config.attention_heads
        bases = {
            stock.GLOBAL: self.config.rotary_base,
            stock.LOCAL: self.config.local_rotary_base or self.config.rotary_base,
        }
        self._rotary = {
            kind: RotaryTable(size, base, self.config.maximum_positions)
            for kind, base in bases.items()
            if kind in (settings.layer_types or [])
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_key(seed, "encoder") >> 1)
            self.module = ModernBertModel(settings)
            rows = TaskEmbedding(TASK_ROWS, settings.hidden_size, config.initializer_range)
            replace_layers(self.module)
        # The angles come from our tables.
        del self.module.rotary_emb
        if config.task_embedding != "off":
            self.module.embeddings.set_submodule("task_type_embeddings", rows)
        for layer in cast(Sequence[PackedLayer], self.module.layers):
            # The stock class makes it only beside dropout of the attention, which we have not.
            layer.attn.out_drop = Dropout(config.dropout)
        replace_dropout(self.module)

    @classmethod
    def settled(cls, config: EncoderConfig) -> EncoderConfig:
        """Return the settings with rotary positions."""
        for name in ("global_every", "local_rotary_base"):
            if getattr(config, name) is not None and not (
                config.local_attention or config.init_from
            ):
                raise UserError(
                    f"encoder.{name} {getattr(config, name)!r} says how local layers are, and "
                    f"there are none; set encoder.local_attention=128, or leave {name} out"
                )
        return super().settled(config)

    @classmethod
    def sized(cls, config: EncoderConfig) -> EncoderConfig:
        """Return the settings with the sizes of the checkpoint, or with an inner width that gives a
        layer as many weights as that of BERT.
        """
        config = cls.settled(config)
        if config.init_from:
            return config.model_copy(update=stock.sizes_of(config.init_from))
        sizes: dict[str, Any] = {"intermediate_size": _inner(config)}
        if config.local_attention:
            sizes["global_every"] = config.global_every or _GLOBAL_EVERY
            sizes["local_rotary_base"] = config.local_rotary_base or config.rotary_base
        return config.model_copy(update=sizes)

    @classmethod
    def weights_of_layer(cls, config: EncoderConfig) -> LayerWeights:
        """Queries, keys and values; then the output of attention and the three matrices around the
        gated activation.
        """
        hidden = config.hidden_size
        return LayerWeights(3 * hidden * hidden, hidden * hidden + 3 * hidden * _inner(config))

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The layers in order."""
        return cast(Sequence[nn.Module], self.module.layers)

    @property
    def word_embeddings(self) -> Tensor:
        """The table that the vocabulary head is tied to."""
        return self.module.embeddings.tok_embeddings.weight

    @property
    def task_rows(self) -> tuple[nn.Parameter, ...]:
        """Rows of the task embedding; none where it is off."""
        embedding = getattr(self.module.embeddings, "task_type_embeddings", None)
        return tuple(cast(TaskEmbedding, embedding).rows) if embedding is not None else ()

    @property
    def sequence_transform(self) -> nn.Module:
        """The first part of the vocabulary head, as in the stock classes."""
        return self._head

    def meet(self, head: VocabularyHead) -> None:
        """Take note of the part of the vocabulary head that sequence heads share."""
        self._head = head.transform

    def vocabulary_transform(self) -> nn.Module:
        """Make a linear layer, an activation and a norm."""
        return ModernBertPredictionHead(self.module.config)

    def embed(self, batch: TensorBatch) -> Tensor:
        """Add up words and tasks before the first norm."""
        embeddings = self.module.embeddings
        embedded = embeddings.tok_embeddings(batch.token_ids)
        if self.task_rows:
            rows = cast(TaskEmbedding, embeddings.task_type_embeddings)
            embedded = embedded + rows(batch.task_type_ids)
        return cast(Tensor, embeddings(inputs_embeds=embedded))

    def layer_inputs(self, places: TensorPlaces) -> dict[str, Any]:
        """Return what attention needs to know of the places."""
        rotations = {kind: table.at(places.position_ids) for kind, table in self._rotary.items()}
        return {"packed_layout": places.layout, "rotations": rotations}

    def as_read(self, states: Tensor) -> Tensor:
        """Put states through the last norm: the layers themselves leave them without one."""
        return cast(Tensor, self.module.final_norm(states))

    def sequence_states(self, states: Tensor) -> Tensor:
        """Put states of [CLS] places through the first part of the vocabulary head."""
        return cast(Tensor, self._head(states))

    @classmethod
    def read_checkpoint(cls, config: EncoderConfig) -> tuple[dict[str, Tensor], list[str]]:
        """Return the weights of a ModernBERT checkpoint without prefix."""
        return stock.checkpoint_weights(str(config.init_from))

    def load_checkpoint(self, weights: Mapping[str, Tensor], head: VocabularyHead) -> list[str]:
        """Copy the weights into encoder and vocabulary head; return what stays fresh."""
        return stock.load(self.module, self.task_rows, head, weights)

    @property
    def folds_task(self) -> bool:
        """The stock class takes no task."""
        return True

    def stock_config(self) -> ModernBertConfig:
        """Return the config of ModernBertForMaskedLM."""
        return stock.config_of_encoder(self.config, self._vocabulary)

    def stock_state(self, head: VocabularyHead, task_row: int) -> dict[str, Tensor]:
        """Return the weights of that class."""
        return stock.state_of(self.module, self.task_rows, head, task_row)

    def stock_model(self, head: VocabularyHead, task_row: int) -> ModernBertForMaskedLM:
        """Return that class with the weights of encoder and head."""
        return stock.model_of(self.stock_config(), self.stock_state(head, task_row))

    def stock_classifier(self, kind: StockHead, linear: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a linear head as the stock classes name them.

        Raises:
            UserError: It is a head of tokens: the class puts `head` before it, which no head of
                tokens here reads through.
        """
        if kind == "TokenClassification":
            raise UserError(
                "encoder.architecture 'modernbert': ModernBertForTokenClassification has a dense "
                "layer and a norm before the labels, and a head of tokens reads the states without "
                "them; accepted with --head are heads of sequences"
            )
        return super().stock_classifier(kind, linear)


def _inner(config: EncoderConfig) -> int:
    return config.intermediate_size or -(-8 * config.hidden_size // 3 // 32) * 32
