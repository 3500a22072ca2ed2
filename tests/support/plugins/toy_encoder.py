"""A family of one's own: plain torch modules, with names and norms of their own; exported as
BERT.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM

from ernie_cmtl.errors import UserError
from ernie_cmtl.head_kinds.vocabulary import VocabularyHead
from ernie_cmtl.model.encoder import EncoderFamily, LayerWeights
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.kernels.dropout import Dropout
from ernie_cmtl.model.kernels.packed_attention import PackedLayout, packed_attention
from ernie_cmtl.model.read_places import ReadPlaces
from ernie_cmtl.model.task_embedding import TASK_ROWS, TaskEmbedding
from ernie_cmtl.model.tensor_batch import TensorBatch, TensorPlaces
from ernie_cmtl.randomness import derive_key
from ernie_cmtl.records import Vocabulary

SEGMENTS = 4


class ToyNorm(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, states: Tensor) -> Tensor:
        return functional.layer_norm(states, self.scale.shape, self.scale, self.shift, 1e-5)


class ToyBlock(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, 2 * config.hidden_size
        self.heads = config.attention_heads
        self.mixed, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.wide, self.narrow = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.first, self.second = ToyNorm(hidden), ToyNorm(hidden)
        self.drop = Dropout(config.dropout)

    def forward(
        self, states: Tensor, layout: PackedLayout, read: ReadPlaces | None = None
    ) -> Tensor:
        rows, length, hidden = states.shape
        query, key, value = (
            part.view(rows, length, self.heads, -1).transpose(1, 2)
            for part in self.mixed(states).chunk(3, -1)
        )
        attended, _ = packed_attention(self, query, key, value, None, packed_layout=layout)
        states = self.first(states + self.drop(self.out(attended.reshape(rows, length, hidden))))
        states = self.second(states + self.drop(self.narrow(functional.gelu(self.wide(states)))))
        return read.of(states) if read else states


class ToyModule(nn.Module):
    def __init__(self, config: EncoderConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.words = nn.Embedding(vocabulary.size, hidden)
        self.places = nn.Embedding(config.maximum_positions, hidden)
        self.segments = nn.Embedding(SEGMENTS, hidden)
        self.tasks = TaskEmbedding(TASK_ROWS, hidden, config.initializer_range)
        self.start = ToyNorm(hidden)
        self.blocks = nn.ModuleList(ToyBlock(config) for _ in range(config.layers))
        self.summary = nn.Linear(hidden, hidden)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=config.initializer_range)


class ToyEncoder(EncoderFamily):
    norms = (ToyNorm,)
    module: ToyModule

    def __init__(self, config: EncoderConfig, vocabulary: Vocabulary, seed: int) -> None:
        self.config, self.vocabulary_size = self.sized(config), vocabulary.size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_key(seed, "encoder") >> 1)
            self.module = ToyModule(self.config, vocabulary)

    @classmethod
    def sized(cls, config: EncoderConfig) -> EncoderConfig:
        return config.model_copy(update={"intermediate_size": 2 * config.hidden_size})

    @classmethod
    def weights_of_layer(cls, config: EncoderConfig) -> LayerWeights:
        # All of a layer is computed at all places.
        return LayerWeights(8 * config.hidden_size**2, 0)

    @property
    def layers(self) -> Sequence[nn.Module]:
        return self.module.blocks

    @property
    def word_embeddings(self) -> Tensor:
        return self.module.words.weight

    @property
    def task_rows(self) -> tuple[nn.Parameter, ...]:
        return tuple(self.module.tasks.rows)

    @property
    def sequence_transform(self) -> nn.Module:
        return self.module.summary

    def vocabulary_transform(self) -> nn.Module:
        hidden = self.config.hidden_size
        return nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), ToyNorm(hidden))

    def embed(self, batch: TensorBatch) -> Tensor:
        module = self.module
        found = module.words(batch.token_ids) + module.places(batch.position_ids)
        found = found + module.segments(batch.token_type_ids) + module.tasks(batch.task_type_ids)
        return module.start(found)

    def layer_inputs(self, places: TensorPlaces) -> dict[str, Any]:
        return {"layout": places.layout}

    def sequence_states(self, states: Tensor) -> Tensor:
        return torch.tanh(self.module.summary(states))

    @classmethod
    def read_checkpoint(cls, config: EncoderConfig) -> tuple[Mapping[str, Tensor], list[str]]:
        raise UserError("a toy encoder starts from no checkpoint")

    def load_checkpoint(self, weights: Mapping[str, Tensor], head: VocabularyHead) -> list[str]:
        raise NotImplementedError

    @property
    def folds_task(self) -> bool:
        return True

    def stock_config(self) -> BertConfig:
        return BertConfig(
            vocab_size=self.vocabulary_size,
            hidden_size=self.config.hidden_size,
            num_hidden_layers=self.config.layers,
            num_attention_heads=self.config.attention_heads,
            intermediate_size=2 * self.config.hidden_size,
            max_position_embeddings=self.config.maximum_positions,
            type_vocab_size=SEGMENTS,
            layer_norm_eps=1e-5,
            architectures=["BertForMaskedLM"],
        )

    def stock_state(self, head: VocabularyHead, task_row: int) -> dict[str, Tensor]:
        own = self.module
        state = {
            "bert.embeddings.word_embeddings.weight": own.words.weight,
            "bert.embeddings.position_embeddings.weight": own.places.weight,
            # BERT knows no tasks: one row is part of every segment.
            "bert.embeddings.token_type_embeddings.weight": (
                own.segments.weight + own.tasks.rows[task_row]
            ),
            "cls.predictions.bias": head.bias,
            **_norm("bert.embeddings.LayerNorm", own.start),
            **_linear("bert.pooler.dense", own.summary),
            **_linear("cls.predictions.transform.dense", head.transform[0]),
            **_norm("cls.predictions.transform.LayerNorm", head.transform[2]),
        }
        for number, block in enumerate(own.blocks):
            state |= _layer(f"bert.encoder.layer.{number}", block)
        return {name: value.detach().cpu().float().contiguous() for name, value in state.items()}

    def stock_model(self, head: VocabularyHead, task_row: int) -> BertForMaskedLM:
        model = BertForMaskedLM(self.stock_config())
        model.load_state_dict(self.stock_state(head, task_row), strict=False)
        return model.train(False)


def _layer(prefix: str, block: ToyBlock) -> dict[str, Tensor]:
    state = {
        **_linear(f"{prefix}.attention.output.dense", block.out),
        **_norm(f"{prefix}.attention.output.LayerNorm", block.first),
        **_linear(f"{prefix}.intermediate.dense", block.wide),
        **_linear(f"{prefix}.output.dense", block.narrow),
        **_norm(f"{prefix}.output.LayerNorm", block.second),
    }
    for part in ("weight", "bias"):
        chunks = getattr(block.mixed, part).chunk(3)
        for name, chunk in zip(("query", "key", "value"), chunks, strict=True):
            state[f"{prefix}.attention.self.{name}.{part}"] = chunk
    return state


def _linear(prefix: str, linear: nn.Linear) -> dict[str, Tensor]:
    return {f"{prefix}.weight": linear.weight, f"{prefix}.bias": linear.bias}


def _norm(prefix: str, norm: ToyNorm) -> dict[str, Tensor]:
    return {f"{prefix}.weight": norm.scale, f"{prefix}.bias": norm.shift}
