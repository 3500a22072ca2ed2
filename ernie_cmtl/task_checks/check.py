"""Is a task sound: does it keep its contract, are its labels spread, and do cheap baselines fail on
it?
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import IntArray
from ernie_cmtl.task import TaskCorpus
from ernie_cmtl.task_checks.contract import Finding, contract, edge_case, finding, fresh
from ernie_cmtl.task_checks.drawn import Drawn
from ernie_cmtl.task_checks.edge_texts import EdgeText
from ernie_cmtl.task_checks.leaks import Leak, find_leaks, label_balance
from ernie_cmtl.task_checks.text_view import Sample, TextView
from ernie_cmtl.task_instance import TaskInstance

_READINGS = 8
"""A text that is too small for the samples is read at most so many times."""
_MOST_OF_LABELS = 0.75
"""A class with a larger share is worth a remark."""
_FORM = {"examples", "heads", "labels", "positions", "specials"}
"""Rules without which an example cannot be taken apart."""


class TaskCheck(TypedDict):
    """What `tasks check` reports."""

    task: str
    passed: bool
    samples: dict[str, int]
    """Split -> examples that were made."""
    balance: dict[str, dict[str, Any]]
    """Head -> how its labels are spread."""
    leaks: list[Leak]
    remarks: list[str]
    """What is no fault, but has to be known where an accuracy is read."""
    contract: list[Finding]
    tokens_per_second: float
    """Real tokens made on one core."""


@dataclass(frozen=True)
class CheckTexts:
    """The texts that a task is checked on."""

    train: TaskCorpus
    heldout: TaskCorpus
    edges: Mapping[str, EdgeText]
    """What is unusual of its documents -> a small text."""
    token_classes: IntArray
    """Token -> class, as `features.token_classes` gives it; int64 [vocabulary]."""


@dataclass
class _Made:
    """What came out of a stream."""

    samples: list[Sample] = field(default_factory=list)
    empty: int = 0
    """Samples that held nothing to predict."""
    tokens: int = 0
    nanoseconds: int = 0
    failure: str = ""


def check_task(
    instance: TaskInstance, texts: CheckTexts, length: int, samples: int, seed: int
) -> TaskCheck:
    """Check a task on a corpus; samples: training ones, and half as many held-out ones.

    Raises:
        UserError: A split has no sample for the task.
    """

    def open_train(other_seed: int) -> SampleStream:
        return SampleStream(fresh(instance), texts.train, length, other_seed)

    stream = open_train(seed)
    train, heldout = (
        _make(stream, samples),
        _make(SampleStream(fresh(instance), texts.heldout, length, seed), samples // 2),
    )
    rules = [finding("examples", _failures(train, heldout))]
    if rules[0]["passed"]:
        rules += contract(Drawn(stream, train.samples, train.empty, length, open_train, seed))
        rules += [
            finding(name, _edge_case(instance, edge, length, seed))
            for name, edge in texts.edges.items()
        ]
    broken = {rule["name"] for rule in rules if not rule["passed"]}
    balance: dict[str, dict[str, Any]] = {}
    leaks: list[Leak] = []
    if not broken & _FORM:
        shown, hidden = (
            _view(train, texts.train, texts, instance),
            _view(heldout, texts.heldout, texts, instance),
        )
        balance = {spec.name: label_balance(spec, shown) for spec in instance.specs}
        known = instance.task.known_leaks
        leaks = [leak for spec in instance.specs for leak in find_leaks(spec, shown, hidden, known)]
    return {
        "task": instance.name,
        "passed": not broken
        and not any(leak["leaks"] and leak["allowed"] is None for leak in leaks),
        "samples": {"train": len(train.samples), "heldout": len(heldout.samples)},
        "balance": balance,
        "leaks": leaks,
        "remarks": list(_remarks(balance)),
        "contract": rules,
        "tokens_per_second": train.tokens / max(train.nanoseconds / 1e9, 1e-9),
    }


def _remarks(balance: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    for head, found in balance.items():
        shares = found.get("classes", {})
        most = max(shares, key=shares.__getitem__, default="")
        if shares and shares[most] > _MOST_OF_LABELS:
            yield (
                f"{head}: {shares[most]:.1%} of the labels are {most}; an encoder that always "
                "answers this reaches the same accuracy"
            )


def _view(made: _Made, text: TaskCorpus, texts: CheckTexts, instance: TaskInstance) -> TextView:
    return TextView(made.samples, text, instance.task.vocabulary, texts.token_classes)


def _make(stream: SampleStream, count: int) -> _Made:
    """Make examples, and measure the processor's time that the making takes."""
    made = _Made()
    for number in range(min(_READINGS * len(stream), count)):
        before = time.process_time_ns()
        try:
            example = stream.example(number)
        # A task is other people's code, and this is where it is looked at.
        except Exception as error:
            made.failure = f"sample {number}: {_explain(error, stream)}"
            break
        made.nanoseconds += time.process_time_ns() - before
        if example is None:
            made.empty += 1
            continue
        made.tokens += len(example.token_ids)
        made.samples.append(Sample(number, *stream.place(number), example))
    return made


def _explain(error: Exception, stream: SampleStream) -> str:
    layer = error.args[0] if isinstance(error, KeyError) and error.args else None
    if layer in stream.instance.task.profile.layers:
        return f"layer {layer!r} is read and not declared in `layers`"
    return f"{type(error).__name__}: {error}"


def _failures(train: _Made, heldout: _Made) -> Iterator[str]:
    yield from (made.failure for made in (train, heldout) if made.failure)
    if not (train.failure or heldout.failure):
        for name, made in (("training", train), ("held-out", heldout)):
            if not made.samples:
                yield f"no {name} sample holds anything to predict"


def _edge_case(instance: TaskInstance, edge: EdgeText, length: int, seed: int) -> Iterator[str]:
    try:
        stream = SampleStream(fresh(instance), edge.text, length, seed)
    except UserError:
        # To refuse a text with one clear message is all right.
        return
    yield from edge_case(stream, length, edge.content)
