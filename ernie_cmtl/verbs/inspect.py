"""The verb inspect: what a task does to the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.masking_units import knowledge_units, span_places
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.records import AnnotatedText, Example
from ernie_cmtl.run.instances import make_instance


@dataclass(frozen=True)
class InspectedSample:
    """A sample, the text that it comes from, and the example that was made of it."""

    number: int
    place: tuple[int, int]
    """First token of its text in the split, and the one after the last."""
    tokens: list[str]
    """Of its text."""
    sentences: list[str]
    unit_kinds: list[int]
    """Of each token, as `masking_units.knowledge_units` gives them."""
    spans: dict[str, list[str]]
    """Span layer -> what it marks in the text."""
    input: list[str]
    """Tokens of the example; none where there is nothing to predict."""
    targets: dict[str, list[tuple[int, str]]]
    """Head -> places in the example and their labels."""

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "sentences": self.sentences,
            "spans": self.spans,
            "input": self.input,
            "targets": self.targets,
        }


def inspect(
    folder: Path, task: str, config: TaskConfig, samples: int, length: int, seed: int
) -> list[InspectedSample]:
    """Return the first samples of a task on a corpus, in rows of some length; another seed has
    other samples.

    Raises:
        UserError: There is no such corpus or task, or the task does not fit the corpus.
    """
    corpus = Corpus(folder)
    instance = make_instance(task, 0, config, corpus)
    stream = SampleStream(instance, corpus.text("train", instance.task.options.table), length, seed)
    return [_inspected(corpus, stream, number) for number in range(min(samples, len(stream)))]


def _inspected(corpus: Corpus, stream: SampleStream, number: int) -> InspectedSample:
    place, example = stream.place(number), stream.example(number)
    layers = tuple(
        name for name in corpus.manifest.spans if name in stream.instance.task.available_layers
    )
    text = stream.corpus.passage(*place, ("word_starts", *layers))
    tokens = _tokens(corpus, text.token_ids.tolist())
    return InspectedSample(
        number=number,
        place=place,
        tokens=tokens,
        sentences=[" ".join(tokens[a:b]) for a, b in pairwise(text.sentence_offsets)],
        unit_kinds=knowledge_units(text, layers).tolist(),
        spans=_spans(text, tokens, layers),
        input=_tokens(corpus, example.token_ids.tolist()) if example else [],
        targets=_targets(corpus, stream, example) if example else {},
    )


def _tokens(corpus: Corpus, token_ids: list[int]) -> list[str]:
    return [corpus.vocabulary.tokens[token] for token in token_ids]


def _spans(text: AnnotatedText, tokens: list[str], layers: Sequence[str]) -> dict[str, list[str]]:
    """Return the knowledge spans that each layer marks in a passage."""
    places = {name: zip(*span_places(text.layers[name]), strict=True) for name in layers}
    return {
        name: [" ".join(tokens[start:stop]) for start, stop in found]
        for name, found in places.items()
    }


def _targets(
    corpus: Corpus, stream: SampleStream, example: Example
) -> dict[str, list[tuple[int, str]]]:
    found: dict[str, list[tuple[int, str]]] = {}
    for spec in stream.instance.specs:
        if targets := example.targets.get(spec.name):
            kind, values = head_kind(spec.kind), targets.labels.tolist()
            if kind.labels == "token":
                values = _tokens(corpus, values)
            elif spec.class_names:
                values = [spec.class_names[value] for value in values]
            elif kind.is_regression:
                values = [f"{value:.3g}" for value in values]
            positions = targets.positions.reshape(len(values), -1)[:, 0].tolist()
            found[spec.name] = list(zip(positions, map(str, values), strict=True))
    return found
