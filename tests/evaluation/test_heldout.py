"""Held-out scores are what a slow model of transformers computes on one example at a time."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ErnieConfig, ErnieModel

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.evaluation.heldout import HeadScore, heldout_scores
from ernie_cmtl.evaluation.intervals import clustered
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.records import Example
from ernie_cmtl.run.run import Run
from tests.support.runs import make_run

SAMPLES = 12
HEADS = ["knowledge_masking/masked_token", "capitalization/capital", "sentence_reordering/order"]


@dataclass
class OneWorker:
    """One of some workers whose sums nobody adds up."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def sum(self, values: Tensor) -> Tensor:
        return values

    def autocast(self) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture
def run(tiny_config: RunConfig) -> Run:
    return Run(tiny_config)


@pytest.fixture
def model(run: Run) -> MultiTaskModel:
    """Untrained, with weights large enough that every part of it shows in the scores."""
    model = run.new_model()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def score(
    run: Run, model: MultiTaskModel, samples: int = SAMPLES, worker: OneWorker | None = None
) -> dict[str, HeadScore]:
    streams, pad_id = run.streams("heldout"), run.corpus.vocabulary.pad_id
    return heldout_scores(model, streams, samples, run.config.data, pad_id, worker or OneWorker())  # type: ignore[arg-type]


def plain_encoder(model: MultiTaskModel) -> ErnieModel:
    """Return transformers' own encoder, with its own attention, filled with the same weights."""
    settings = model.encoder.config.to_dict()
    encoder = ErnieModel(
        ErnieConfig(**{key: value for key, value in settings.items() if not key.startswith("_")})
    )
    encoder.set_attn_implementation("eager")
    state = {
        name: value
        for name, value in model.encoder.state_dict().items()
        if "task_type_embeddings" not in name
    }
    rows = [
        parameter
        for name, parameter in model.encoder.named_parameters()
        if "task_type_embeddings" in name
    ]
    state["embeddings.task_type_embeddings.weight"] = torch.stack(rows)
    encoder.load_state_dict(state, strict=False)
    return encoder.train(False)


def class_scores(
    model: MultiTaskModel, encoder: ErnieModel, example: Example, row: int, head: str
) -> Tensor:
    token_ids, token_types = (
        torch.from_numpy(np.array(a))[None] for a in (example.token_ids, example.token_type_ids)
    )
    output = encoder(
        input_ids=token_ids,
        token_type_ids=token_types,
        task_type_ids=torch.full_like(token_ids, row),
    )
    layer: nn.Module = model.heads["masked_token" if head.endswith("masked_token") else head]
    weights = dict(layer.named_parameters())
    (targets,) = example.targets.values()
    if head.endswith("order"):
        return functional.linear(
            output.pooler_output, weights["dense.weight"], weights["dense.bias"]
        )
    states = output.last_hidden_state[0, torch.from_numpy(targets.positions)]
    if head.endswith("capital"):
        return functional.linear(states, weights["dense.weight"], weights["dense.bias"])
    states = functional.gelu(
        functional.linear(
            states, weights["transform.dense.weight"], weights["transform.dense.bias"]
        )
    )
    norm = (weights["transform.LayerNorm.weight"], weights["transform.LayerNorm.bias"])
    states = functional.layer_norm(states, states.shape[-1:], *norm, eps=1e-5)
    return functional.linear(states, encoder.embeddings.word_embeddings.weight, weights["bias"])


@torch.no_grad()
def single_scores(
    run: Run, model: MultiTaskModel, head: str, samples: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (scores of the classes, right classes) of one example after the other, each alone in
    its batch.
    """
    encoder = plain_encoder(model)
    (stream,) = (
        stream for stream in run.streams("heldout") if stream.instance.name == head.split("/")[0]
    )
    for number in range(min(samples, len(stream))):
        if example := stream.example(number):
            (targets,) = example.targets.values()
            yield (
                class_scores(model, encoder, example, stream.instance.row, head).double(),
                torch.from_numpy(targets.labels),
            )


def mean_score(examples: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    scores, wanted = (torch.cat(parts) for parts in zip(*examples, strict=True))
    losses = -scores.log_softmax(-1)[torch.arange(len(wanted)), wanted]
    hits = (scores.argmax(-1) == wanted).double()
    approximate = {"loss": float(losses.mean()), "accuracy": float(hits.mean())}
    return {key: pytest.approx(value, abs=1e-5) for key, value in approximate.items()} | {
        "labels": len(wanted)
    }


@pytest.mark.parametrize("head", HEADS)
def test_scores_are_those_of_single_examples_without_packing(
    run: Run, model: MultiTaskModel, head: str
) -> None:
    expected = mean_score(list(single_scores(run, model, head, SAMPLES)))
    assert expected["labels"] >= SAMPLES
    found = score(run, model)[head]
    assert {key: found[key] for key in expected} == expected  # type: ignore[literal-required]


def test_the_interval_of_an_accuracy_is_that_of_sequences_and_not_of_their_tokens(
    run: Run, model: MultiTaskModel
) -> None:
    head = "capitalization/capital"
    examples = list(single_scores(run, model, head, SAMPLES))
    hits = [float((scores.argmax(-1) == wanted).sum()) for scores, wanted in examples]
    labels = [float(len(wanted)) for _, wanted in examples]
    products = [float(np.dot(*pair)) for pair in ((hits, hits), (hits, labels), (labels, labels))]
    found = score(run, model)[head]
    assert found["interval"] == pytest.approx(
        clustered(sum(hits), sum(labels), *products), abs=1e-6
    )
    low, high = found["interval"]
    assert low < (found["accuracy"] or 0) < high
    assert "interval" in score(run, model, 40)["sentence_reordering/order"]["given"]["2 segments"]


def test_scores_given_the_number_of_segments_choose_among_the_orders_of_so_many(
    run: Run, model: MultiTaskModel
) -> None:
    samples = 40
    examples = list(single_scores(run, model, "sentence_reordering/order", samples))
    # Classes 0; 1, 2; 3 to 8 are the orders of 1, 2 and 3 segments.
    groups = {"1 segments": (0, 1), "2 segments": (1, 3), "3 segments": (3, 9)}
    expected = {}
    for name, (first, end) in groups.items():
        members = [
            (scores[:, first:end], wanted - first)
            for scores, wanted in examples
            if first <= int(wanted) < end
        ]
        expected[name] = mean_score(members) | {"classes": end - first}
    assert sum(group["labels"] for group in expected.values()) == len(examples)
    found = score(run, model, samples)["sentence_reordering/order"]["given"]
    assert {
        name: {key: group[key] for key in expected[name]} for name, group in found.items()
    } == expected  # type: ignore[literal-required]


@pytest.mark.parametrize("head", HEADS)
def test_beside_an_accuracy_stands_that_of_the_most_frequent_of_the_judged_labels(
    run: Run, model: MultiTaskModel, head: str
) -> None:
    labels = torch.cat([wanted for _, wanted in single_scores(run, model, head, SAMPLES)])
    found = score(run, model)[head]
    assert found["majority"] == pytest.approx(float(labels.bincount().max()) / len(labels))
    for name, group in found.get("given", {}).items():
        first, end = {"1 segments": (0, 1), "2 segments": (1, 3), "3 segments": (3, 9)}[name]
        members = labels[(first <= labels) & (labels < end)]
        assert group["majority"] == pytest.approx(float(members.bincount().max()) / len(members))


def test_of_several_candidates_chance_stands_beside_the_accuracy(english: Corpus) -> None:
    run = make_run(english, [{"quick_thoughts": 2}])
    (spec,) = run.instances[0].specs
    found = score(run, run.new_model())[f"quick_thoughts/{spec.name}"]
    assert found["majority"] == 1 / spec.classes


def test_a_model_that_answers_one_class_is_told_by_it(run: Run, model: MultiTaskModel) -> None:
    assert not score(run, model)["capitalization/capital"]["one_class"]
    with torch.no_grad():
        for name, parameter in model.heads["capitalization/capital"].named_parameters():
            parameter.copy_(torch.tensor([9.0, 0.0]) if name.endswith("bias") else 0 * parameter)
    found = score(run, model)["capitalization/capital"]
    assert found["one_class"]
    assert found["accuracy"] in (found["majority"], pytest.approx(1 - found["majority"]))


def test_scores_are_the_same_each_time_whatever_is_drawn_in_between(
    run: Run, model: MultiTaskModel
) -> None:
    first = score(run, model)
    torch.rand(7)
    np.random.default_rng().random(3)
    for stream in run.streams("train"):
        stream.example(5)
    assert score(run, model) == first
    assert set(first) == set(HEADS)


def test_the_held_out_examples_do_not_depend_on_the_seed_of_the_run(
    run: Run, model: MultiTaskModel
) -> None:
    other = Run(run.config.model_copy(update={"seed": 99}))
    assert score(other, model) == score(run, model)


@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_the_model_as_it_was(
    run: Run, model: MultiTaskModel, training: bool
) -> None:
    model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    score(run, model)
    assert all(module.training is training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_dropout_is_off_while_scoring(run: Run, model: MultiTaskModel) -> None:
    model.train(True)
    while_training = score(run, model)
    model.train(False)
    assert score(run, model) == while_training


def test_workers_together_score_each_example_once(run: Run, model: MultiTaskModel) -> None:
    alone = score(run, model)
    parts = [score(run, model, worker=OneWorker(rank, 3)) for rank in range(3)]
    for head, whole in alone.items():
        shares = [part[head] for part in parts if head in part]
        assert len(shares) > 1
        assert sum(share["labels"] for share in shares) == whole["labels"]
        assert sum(share["labels"] * share["loss"] for share in shares) == pytest.approx(
            whole["labels"] * whole["loss"], rel=1e-6
        )


@pytest.mark.parametrize("more", [-3, 0, 5])
def test_as_many_samples_are_scored_as_asked_for_or_as_there_are(
    run: Run, model: MultiTaskModel, more: int
) -> None:
    stream = run.streams("heldout")[2]
    samples = len(stream) + more
    scores = heldout_scores(model, [stream], samples, run.config.data, 0, OneWorker())  # type: ignore[arg-type]
    assert scores["sentence_reordering/order"]["labels"] == min(samples, len(stream))
