"""Where the segments of an example stand in the text, found by their tokens alone; and what their
form tells.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus, TextSplit
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.records import Example
from ernie_cmtl.run.instances import make_instance
from tests.support.corpora import build_corpus

Array = np.ndarray


def random_texts(documents: Sequence[int], seed: int = 1) -> list[str]:
    """Texts of so many sentences each; their words are random, so that hardly any few tokens stand
    in two places.
    """
    rng = random.Random(seed)
    words = [
        "".join(
            rng.choices("bcdfgklmnprst", k=1)
            + rng.choices("aeiou", k=1)
            + rng.choices("lmnrst", k=1)
        )
        for _ in range(300)
    ]

    def sentence() -> str:
        return " ".join(rng.choices(words, k=rng.randint(2, 24))).capitalize() + "."

    return [" ".join(sentence() for _ in range(count)) for count in documents]


def open_stream(
    name: str, corpus: Corpus, row_length: int = 128, **options: object
) -> SampleStream:
    instance = make_instance(name, 0, TaskConfig.model_validate(options), corpus)
    return SampleStream(instance, corpus.split("train"), row_length, seed=1)


def build(folder: Path, documents: Sequence[int]) -> Corpus:
    build_corpus(folder, random_texts(documents), heldout_fraction=0, layers={})
    return Corpus(folder / "corpus")


def numbered_examples(stream: SampleStream, count: int) -> list[tuple[int, Example]]:
    """The first samples that give an example."""
    made = ((number, stream.example(number)) for number in range(count))
    return [(number, example) for number, example in made if example is not None]


def segments_of(example: Example) -> list[list[Array]]:
    """The segments of each sequence, without [CLS] and [SEP]."""
    lengths = example.sequence_lengths or (len(example.token_ids),)
    borders = np.cumsum(lengths)[:-1]
    sequences = zip(
        np.split(example.token_ids, borders), np.split(example.token_type_ids, borders), strict=True
    )
    return [
        [tokens[types == number][int(number == 0) : -1] for number in range(types.max() + 1)]
        for tokens, types in sequences
    ]


class Finder:
    """Finds tokens in the text of a split."""

    def __init__(self, split: TextSplit) -> None:
        self.split = split
        tokens = np.concatenate(
            [np.asarray(arrays["token_ids"], dtype=np.int32) for arrays in split.arrays]
        )
        self._bytes = tokens.tobytes()
        ends, counts = np.unique(tokens[split.sentence_offsets[1:] - 1], return_counts=True)
        self.sentence_ends = ends[counts.argsort()[-3:]]
        """The three tokens that most sentences end with: full stop and the like."""

    def places(self, tokens: Array) -> list[int]:
        """First token of every passage, within one document, that reads so."""
        wanted, found, place = tokens.astype(np.int32).tobytes(), [], -1
        while (place := self._bytes.find(wanted, place + 1)) >= 0:
            start = place // 4
            if place % 4 == 0 and self.document(start) == self.document(start + len(tokens) - 1):
                found.append(start)
        return found

    def place(self, tokens: Array) -> int | None:
        """The only place of some tokens; None where there are several. That there is one is
        asserted.
        """
        found = self.places(tokens)
        assert found
        return found[0] if len(found) == 1 else None

    def document(self, token: int) -> int:
        return int(np.searchsorted(self.split.document_tokens, token, side="right")) - 1

    def border(self, token: int) -> bool:
        """Does a sentence begin here, or does the text end?"""
        return bool(np.isin(token, self.split.sentence_offsets))

    def sentences(self, start: int, tokens: int) -> int:
        """Sentences that a passage has a part of."""
        inner = (self.split.sentence_offsets > start) & (
            self.split.sentence_offsets < start + tokens
        )
        return int(inner.sum()) + 1


def check_shares(labels: Sequence[int], classes: int) -> None:
    """All classes come equally often, within five standard deviations."""
    counts = np.bincount(labels, minlength=classes)
    share = 1 / classes
    assert len(counts) == classes
    assert (
        np.abs(counts - len(labels) * share).max() < 5 * (len(labels) * share * (1 - share)) ** 0.5
    )


def form_of(segments: Sequence[Array], finder: Finder, start: int) -> list[float]:
    """What can be counted of a pair: lengths, sentence ends, cut ends; and where in its document
    the sample stands.
    """
    first, second = segments
    ends = finder.sentence_ends
    bounds = finder.split.document_tokens[finder.document(start) :][:2]
    position = (start - bounds[0]) / (bounds[1] - bounds[0])
    counted = [float(np.isin(part, ends).sum()) for part in segments]
    return [
        len(first),
        len(second),
        len(first) + len(second),
        len(first) - len(second),
        *counted,
        counted[0] - counted[1],
        position,
    ]


def best_rule(features: Array, labels: Array) -> float:
    """Accuracy on the second half of the best rule of one feature, its classes in eight ranges
    learnt from the first half.
    """
    half, scores = len(labels) // 2, []
    for feature in features.T:
        ranges = np.digitize(
            feature, np.unique(np.quantile(feature[:half], np.linspace(0, 1, 9)[1:-1]))
        )
        common = {
            r: np.bincount(labels[:half][ranges[:half] == r]).argmax()
            for r in np.unique(ranges[:half])
        }
        scores.append(
            np.mean(
                [
                    common.get(r, 0) == label
                    for r, label in zip(ranges[half:], labels[half:], strict=True)
                ]
            )
        )
    return float(max(scores))


def leak(stream: SampleStream, head: str, count: int) -> float:
    """How well the form of a pair tells its class: accuracy of the best simple rule."""
    finder, made = Finder(stream.corpus), numbered_examples(stream, count)
    features = [
        form_of(segments_of(example)[0], finder, stream.place(number)[0])
        for number, example in made
    ]
    return best_rule(
        np.array(features), np.array([example.targets[head].labels[0] for _, example in made])
    )
