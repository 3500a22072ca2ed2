"""Models of other people, and weights that are shaken so that each of them shows."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForPreTraining,
)

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.records import Batch
from ernie_cmtl.run.run import Run
from tests.support.runs import make_run

ROW = 64


SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 80,
}


def shake(model: nn.Module, seed: int = 0) -> None:
    """Move every weight, biases too, so far that each of them shows in what the model computes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def sentences(corpus: Corpus) -> list[list[int]]:
    texts = [
        "the function returns a string .",
        "an integer is an object , and so is a list of them .",
    ]
    return [corpus.tokenizer(text)["input_ids"] for text in texts]


def packed(
    corpus: Corpus, sequences: list[list[int]], task: int = 0, segment: int = 0
) -> TensorBatch:
    """Lay sequences one after another into one row."""
    lengths = np.array([len(sequence) for sequence in sequences])
    used = int(lengths.sum())
    token_ids = np.full((1, ROW), corpus.vocabulary.pad_id, dtype=np.int64)
    token_ids[0, :used] = np.concatenate(sequences)
    positions = np.zeros((1, ROW), dtype=np.int64)
    positions[0, :used] = np.concatenate([np.arange(length) for length in lengths])
    starts = np.cumsum(lengths) - lengths
    segments, tasks = np.full((1, ROW), segment), np.full((1, ROW), task)
    return TensorBatch.of(
        Batch(token_ids, segments, tasks, positions, starts, lengths, {}), torch.device("cpu")
    )


@torch.no_grad()
def vocabulary_scores(
    model: MultiTaskModel, corpus: Corpus, task: int = 0, segment: int = 0
) -> list[Tensor]:
    """Return what the run's model scores for every token of each sentence, all of them packed into
    one row.
    """
    model.train(False)
    rows = sentences(corpus)
    scores = model.masked_token_scores(packed(corpus, rows, task, segment))[: sum(map(len, rows))]
    return list(scores.split([len(row) for row in rows]))


def largest_difference(first: list[Tensor], second: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))


def save_bert(
    corpus: Corpus, folder: Path, vocabulary: int | None = None, **changes: Any
) -> BertForPreTraining:
    config = BertConfig(
        vocab_size=vocabulary or corpus.vocabulary.size, intermediate_size=48, **(SIZES | changes)
    )
    bert = BertForPreTraining(config)
    shake(bert)
    bert.save_pretrained(folder)
    corpus.tokenizer.save_pretrained(folder)
    return bert.train(False)


def start_from(corpus: Corpus, source: Path | str) -> Run:
    return make_run(corpus, encoder={"init_from": str(source)})
