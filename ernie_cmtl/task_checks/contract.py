"""What every task must keep, looked for in its own samples: each rule is a function that yields
what breaks it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TypedDict

import numpy as np

from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.records import MASKED_TOKEN, Example, IntArray, Targets
from ernie_cmtl.task import HeadSpec
from ernie_cmtl.task_checks.drawn import REMADE, Drawn
from ernie_cmtl.task_checks.features import BASELINES, sequence_bounds
from ernie_cmtl.task_checks.layer_use import layers_read
from ernie_cmtl.task_checks.text_view import Sample
from ernie_cmtl.task_instance import TaskInstance

_LABELS_A_CLASS = 20
"""Labels for each class, before one that was never drawn is a fault and not chance."""


class Finding(TypedDict):
    """One rule, and what was found."""

    name: str
    passed: bool
    detail: str


def fresh(instance: TaskInstance) -> TaskInstance:
    """Return the instance with a new task, which remembers nothing."""
    task = instance.task
    return TaskInstance(instance.name, instance.row, type(task)(task.options, task.profile))


def contract(drawn: Drawn) -> list[Finding]:
    """Return what each rule found in the samples of a task."""
    rules: Mapping[str, Callable[[Drawn], Iterator[str]]] = {
        "layers": layers_read,
        "heads": _heads,
        "labels": lambda drawn: _each(drawn, _labels),
        "classes": _classes,
        "targets": _targets,
        "positions": lambda drawn: _each(drawn, _positions),
        "slots": lambda drawn: _each(drawn, _slots),
        "specials": lambda drawn: _each(drawn, _specials),
        "seed": _seed,
        "text unchanged": _unchanged,
        "known leaks": _known_leaks,
    }
    return [finding(name, rule(drawn)) for name, rule in rules.items()]


def finding(name: str, broken: Iterator[str]) -> Finding:
    """Judge a rule by what breaks it; a task that raises breaks every rule."""
    found: list[str] = []
    try:
        found.extend(broken)
    # A task is other people's code, and this is where it is looked at.
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return {"name": name, "passed": not found, "detail": found[0] + more if found else ""}


def edge_case(stream: SampleStream, length: int, text_arrays: Callable[[], bytes]) -> Iterator[str]:
    """Make samples of a text with unusual documents; text_arrays: the bytes of the text, to see
    that they stay.
    """
    before = text_arrays()
    for number in range(min(REMADE, 4 * len(stream))):
        if example := stream.example(number):
            for rule in (_labels, _positions, _slots, _specials):
                yield from rule(stream, Sample(number, *stream.place(number), example), length)
    if text_arrays() != before:
        yield "the text of the corpus was written to"


def _each(
    drawn: Drawn, rule: Callable[[SampleStream, Sample, int], Iterator[str]]
) -> Iterator[str]:
    for sample in drawn.samples:
        yield from rule(drawn.stream, sample, drawn.length)


def _specs(stream: SampleStream) -> dict[str, HeadSpec]:
    return {spec.name: spec for spec in stream.instance.specs}


def _heads(drawn: Drawn) -> Iterator[str]:
    found = {name for sample in drawn.samples for name in sample.example.targets}
    declared = _specs(drawn.stream)
    yield from (
        f"targets for {name!r}, which is no declared head" for name in sorted(found - set(declared))
    )
    yield from (
        f"no target ever comes out for head {name!r}" for name in sorted(set(declared) - found)
    )
    for spec in declared.values():
        if spec.class_names and len(set(spec.class_names)) != spec.classes:
            yield (
                f"head {spec.name!r} has {spec.classes} classes and {len(set(spec.class_names))} "
                "names"
            )
        if spec.shown_groups and len(spec.shown_groups) != spec.classes:
            yield (
                f"head {spec.name!r} has {spec.classes} classes and {len(spec.shown_groups)} shown "
                "groups"
            )


def _labels(stream: SampleStream, sample: Sample, length: int) -> Iterator[str]:
    specs = _specs(stream)
    for name, targets in sample.example.targets.items():
        if (spec := specs.get(name)) and (
            wrong := _wrong_labels(spec, targets, stream.instance.task.vocabulary.size)
        ):
            yield f"sample {sample.number}, head {name!r}: {wrong}"


def _wrong_labels(spec: HeadSpec, targets: Targets, vocabulary_size: int) -> str:
    labels = targets.labels
    kind = head_kind(spec.kind)
    dtype, shape = np.dtype(kind.label_dtype), (len(targets.positions),)
    if labels.dtype != dtype or labels.shape != shape:
        return f"labels are {labels.dtype} {labels.shape}; expected {dtype} {shape}"
    if kind.is_regression:
        return "" if np.isfinite(labels).all() else "labels that are not finite"
    classes = vocabulary_size if kind.labels == "token" else spec.classes
    outside = labels[(labels < 0) | (labels >= classes)]
    return f"label {outside[0]} is outside 0..{classes - 1}" if len(outside) else ""


def _classes(drawn: Drawn) -> Iterator[str]:
    for spec in drawn.stream.instance.specs:
        labels = [
            sample.example.targets[spec.name].labels
            for sample in drawn.samples
            if spec.name in sample.example.targets
        ]
        kind = head_kind(spec.kind)
        if kind.labels == "token" or not labels:
            continue
        found = np.concatenate(labels)
        if kind.is_regression:
            if len(found) >= _LABELS_A_CLASS and np.ptp(found) == 0:
                yield f"head {spec.name!r}: every label is {found[0]}"
        elif len(found) >= _LABELS_A_CLASS * spec.classes and not spec.rare_classes:
            names = spec.class_names or tuple(str(number) for number in range(spec.classes))
            for absent in sorted(set(range(spec.classes)) - set(np.unique(found).tolist())):
                yield (
                    f"head {spec.name!r}: class {names[absent]!r} was never drawn in {len(found)} "
                    "labels"
                )


def _targets(drawn: Drawn) -> Iterator[str]:
    holding = sum(
        any(len(targets.labels) for targets in sample.example.targets.values())
        for sample in drawn.samples
    )
    total = len(drawn.samples) + drawn.empty
    if 2 * holding < total:
        yield f"only {holding} of {total} samples have a target"


def _positions(stream: SampleStream, sample: Sample, length: int) -> Iterator[str]:
    specs, vocabulary = _specs(stream), stream.instance.task.vocabulary
    tokens = _unmasked(sample.example)
    for name, targets in sample.example.targets.items():
        at, where = targets.positions, f"sample {sample.number}, head {name!r}"
        if not (spec := specs.get(name)):
            continue
        kind = head_kind(spec.kind)
        if at.dtype != np.int64 or at.shape[1:] != kind.place_shape(spec):
            yield f"{where}: positions are {at.dtype} {at.shape}"
        elif at.size and (at.min() < 0 or at.max() >= len(tokens)):
            yield f"{where}: positions {at.min()}..{at.max()} in an example of {len(tokens)} tokens"
        elif len(np.unique(at)) != at.size:
            yield f"{where}: a position is named twice"
        elif not kind.reads_sequence:
            if vocabulary.special[tokens[at]].any():
                yield f"{where}: a label stands at a special token"
        elif (tokens[at] != vocabulary.cls_id).any():
            yield f"{where}: a label of a sequence does not stand at [CLS]"


def _unmasked(example: Example) -> IntArray:
    """Return the tokens as they were before masking."""
    tokens = example.token_ids.copy()
    if masked := example.targets.get(MASKED_TOKEN):
        inside = masked.positions < len(tokens)
        tokens[masked.positions[inside]] = masked.labels[inside]
    return tokens


def _slots(stream: SampleStream, sample: Sample, length: int) -> Iterator[str]:
    tokens, slot = len(sample.example.token_ids), stream.slot(sample.number)
    if not tokens <= slot <= length:
        yield f"sample {sample.number}: {tokens} tokens in a slot of {slot} in a row of {length}"


def _specials(stream: SampleStream, sample: Sample, length: int) -> Iterator[str]:
    vocabulary, example, where = (
        stream.instance.task.vocabulary,
        sample.example,
        f"sample {sample.number}",
    )
    starts, ends = sequence_bounds(example)
    if ends[-1] != len(example.token_ids) or len(example.token_type_ids) != len(example.token_ids):
        yield (
            f"{where}: {len(example.token_ids)} tokens, {len(example.token_type_ids)} types, "
            f"sequences of {int(ends[-1])}"
        )
        return
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        tokens = example.token_ids[start:end]
        separators = tokens == vocabulary.sep_id
        if (
            not len(tokens)
            or tokens[0] != vocabulary.cls_id
            or (tokens == vocabulary.cls_id).sum() != 1
        ):
            yield f"{where}: a sequence does not begin with its only [CLS]"
        elif not separators[-1]:
            yield f"{where}: a sequence does not end with [SEP]"
        elif (tokens == vocabulary.pad_id).any():
            yield f"{where}: [PAD] inside a sequence"
        elif not np.array_equal(
            example.token_type_ids[start:end], np.cumsum(separators) - separators
        ):
            yield f"{where}: token types are not the numbers of the segments"


def as_bytes(example: Example | None) -> bytes:
    """Return the content of an example, so that two can be compared."""
    if example is None:
        return b""
    arrays = [example.token_ids, example.token_type_ids]
    for name in sorted(example.targets):
        arrays += [
            np.frombuffer(name.encode(), np.uint8),
            example.targets[name].positions,
            example.targets[name].labels,
        ]
    return repr(example.sequence_lengths).encode() + b"".join(array.tobytes() for array in arrays)


def _seed(drawn: Drawn) -> Iterator[str]:
    again, other = drawn.reopen(drawn.seed), drawn.reopen(drawn.seed + 1)
    samples = drawn.samples[:REMADE]
    # Backwards: what a task remembers of earlier samples shows.
    for sample in reversed(samples):
        if as_bytes(again.example(sample.number)) != as_bytes(sample.example):
            yield (
                f"sample {sample.number} differs when it is made again: chance that is not from "
                "rng, or state that is kept"
            )
    if len(samples) > 1 and all(
        as_bytes(other.example(s.number)) == as_bytes(s.example) for s in samples
    ):
        yield "another seed gives the same examples"


def _unchanged(drawn: Drawn) -> Iterator[str]:
    stream = drawn.stream
    for sample in drawn.samples[:REMADE]:
        text = stream.corpus.passage(sample.start, sample.stop, stream.instance.layers)
        before = text.token_ids.copy()
        stream.instance.task.example(text, np.random.default_rng(sample.number), stream.corpus)
        if not np.array_equal(before, text.token_ids):
            yield f"sample {sample.number}: the tokens of the text were written to"


def _known_leaks(drawn: Drawn) -> Iterator[str]:
    for name in type(drawn.stream.instance.task).known_leaks:
        if name not in BASELINES:
            yield f"known_leaks names {name!r}; baselines are {', '.join(BASELINES)}"
