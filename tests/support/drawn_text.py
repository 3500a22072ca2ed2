"""Texts drawn word by word: their tokens, words, names, markers and sentences are known before any
of our code sees them.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.build.annotator import Annotator
from ernie_cmtl.corpus.build.make_layers import make_layer
from ernie_cmtl.corpus.layers import TextLayer
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.store.text_split import TextSplit
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.run.instances import make_instance
from ernie_cmtl.task_instance import TaskInstance

_SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]
_WORDS = [
    "".join(random.Random(number).choices(_SYLLABLES, k=2 + number % 2)) for number in range(300)
]


@dataclass(frozen=True)
class Sentence:
    """A sentence as it was drawn."""

    words: list[str]
    """As they are written, the marker's and signs among them."""
    marker: str
    """In small letters; empty where it opens without one."""
    opening: int
    """How many of the words are the marker and its comma."""
    name: tuple[int, int] | None
    """First word of a name and one past its last."""

    @property
    def text(self) -> str:
        """The sentence as it is written."""
        return " ".join(self.words).replace(" ,", ",").replace(" .", ".")


def draw_documents(seed: int, markers: Sequence[str] = ()) -> list[list[Sentence]]:
    """Draw documents of a few sentences each."""
    rng = random.Random(seed)
    return [
        [_draw_sentence(rng, markers) for _ in range(rng.randint(4, 9))]
        for _ in range(rng.randint(20, 30))
    ]


def _draw_sentence(rng: random.Random, markers: Sequence[str]) -> Sentence:
    words = rng.choices(_WORDS, k=rng.randint(5, 12))
    name = None
    if rng.random() < 0.3:
        first = rng.randint(2, len(words) - 3)
        words[first : first + 2] = [word.capitalize() for word in words[first : first + 2]]
        name = (first, first + 2)
    if rng.random() < 0.2:
        words.insert(len(words) - 1, rng.choice([",", "1984", "7"]))
    marker = rng.choice(markers) if markers and rng.random() < 0.5 else ""
    opening = [*marker.split(), *([","] if rng.random() < 0.5 else [])] if marker else []
    words = [*opening, *words, "."]
    words[0] = words[0].capitalize()
    if name:
        name = (name[0] + len(opening), name[1] + len(opening))
    return Sentence(words, marker, len(opening), name)


@dataclass
class Drawing:
    """Makes samples of a task over drawn documents, with the tokenizer of a corpus."""

    corpus: Corpus
    task: str
    options: Mapping[str, object] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    """Layers that are found in raw text."""
    _pieces: dict[str, list[int]] = field(default_factory=dict)

    @cached_property
    def annotator(self) -> Annotator:
        """Annotates as the corpus was annotated."""
        options = self.corpus.profile.layer_options
        made = {name: make_layer(name, options[name], "en") for name in self.layers}
        providers = {name: layer for name, layer in made.items() if isinstance(layer, TextLayer)}
        return Annotator.load(self.corpus.folder / "tokenizer", "en", providers)

    @cached_property
    def instance(self) -> TaskInstance:
        """The task with its options."""
        return make_instance(self.task, 0, TaskConfig.model_validate(self.options), self.corpus)

    def pieces(self, words: Sequence[str]) -> list[list[int]]:
        """The tokens of each word alone."""
        for word in words:
            if word not in self._pieces:
                self._pieces[word] = self.corpus.tokenizer(word, add_special_tokens=False)[
                    "input_ids"
                ]
        return [self._pieces[word] for word in words]

    def tokens(self, words: Sequence[str]) -> list[int]:
        """The tokens of words in a row."""
        return [token for piece in self.pieces(words) for token in piece]

    def stream(
        self, documents: Sequence[Sequence[Sentence]], length: int, seed: int
    ) -> SampleStream:
        """Open the samples of the task over the documents."""
        texts = self.annotator.annotate(
            [" ".join(sentence.text for sentence in document) for document in documents]
        )
        counts = [len(text.token_ids) for text in texts]
        starts = np.cumsum([0, *counts])
        offsets = [
            text.sentence_offsets[1:] + start for text, start in zip(texts, starts, strict=False)
        ]
        names = ("word_starts", "letter_case", *self.layers)
        arrays = {name: np.concatenate([text.layers[name] for text in texts]) for name in names}
        split = TextSplit(
            tokens=int(starts[-1]),
            document_offsets=np.cumsum([0, *(text.sentences for text in texts)]),
            sentence_offsets=np.concatenate([[0], *offsets]),
            shard_starts=np.zeros(1, np.int64),
            shard_documents=np.zeros(1, np.int64),
            shard_sources=["drawn"],
            arrays=[{"token_ids": np.concatenate([text.token_ids for text in texts]), **arrays}],
        )
        return SampleStream(self.instance, split, length, seed)
