"""Heads of every kind."""

import numpy as np
import torch

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.batching import make_batch
from ernie_cmtl.model.encoder import build_encoder
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TaskOptions, TextLayout
from ernie_cmtl.task_instance import TaskInstance, run_heads
from tests.support.encoders import ENCODERS


class EveryKind(PretrainTask):
    """Two sequences in one row, with labels of every kind."""

    family = "semantic"
    citation = "test"

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        return KINDS

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        raise NotImplementedError

    def example(self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus) -> Example:
        cls, sep = self.vocabulary.cls_id, self.vocabulary.sep_id
        token_ids = np.array([cls, 11, 12, sep, cls, 13, 14, 15, sep])
        targets = {
            "word_class": Targets(np.array([1, 2, 6]), np.array([0, 2, 1])),
            "word_value": Targets(np.array([5, 7]), np.array([0.5, -1.0], dtype=np.float32)),
            "text_class": Targets(np.array([0]), np.array([3])),
            "text_value": Targets(np.array([4]), np.array([2.0], dtype=np.float32)),
            "next_text": Targets(np.array([[0, 4]]), np.array([1])),
        }
        return Example(token_ids, np.zeros(9, dtype=np.int64), targets, sequence_lengths=(4, 5))


KINDS = (
    HeadSpec("word_class", "token_class", classes=3),
    HeadSpec("word_value", "token_regression", encoder_layer=1),
    HeadSpec("text_class", "sequence_class", classes=4),
    HeadSpec("text_value", "sequence_regression"),
    HeadSpec("next_text", "choice", classes=2),
)


def every_kind(english: Corpus, encoder: str = "learned") -> tuple[MultiTaskModel, TensorBatch]:
    """A model with a head of every kind, and a batch with labels for each; encoder: of
    `ENCODERS`.
    """
    vocabulary = english.vocabulary
    instance = TaskInstance("every_kind", 0, EveryKind(TaskOptions(), english.profile))
    nothing = AnnotatedText(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64), {})
    example = instance.task.example(nothing, np.random.default_rng(0), english.split("train"))
    heads = run_heads([instance])
    batch = make_batch([[(0, 0, example)]], 16, [instance], heads, vocabulary.pad_id)
    sizes = {"layers": 2, "hidden_size": 16, "attention_heads": 2, "maximum_positions": 16}
    settings = EncoderConfig.model_validate(sizes | {"dropout": 0.0} | ENCODERS[encoder])
    model = MultiTaskModel(build_encoder(settings, vocabulary, 0), heads, ["every_kind"], 0)
    return model.eval(), TensorBatch.of(batch, torch.device("cpu"))
