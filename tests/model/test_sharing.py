"""Tasks on layers of their own: equal to a stock model for each group of tasks, whatever stands
beside their sequences.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.flop_counter import FlopCounterMode
from transformers import ErnieModel

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.branches import copies
from ernie_cmtl.model.encoder import encoder_family
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.feeding import Feed
from ernie_cmtl.model.flops import training_flops
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.routing import MULTIPLE, padding_places
from ernie_cmtl.records import Batch
from ernie_cmtl.run.run import Run
from tests.support.batches import batch_of
from tests.support.encoders import ENCODERS
from tests.support.models import shake
from tests.support.runs import make_run

CPU = torch.device("cpu")
TASKS = ("knowledge_masking", "capitalization", "sentence_reordering")
STAGES = [dict.fromkeys(TASKS, 4)]
MODES: dict[str, dict[str, Any]] = {
    "hard": {"mode": "hard"},
    "a family each": {"mode": "partial", "layers": 1, "groups": "family"},
    "a task each": {"mode": "partial", "layers": 2, "groups": "task"},
    "a table": {"mode": "partial", "layers": 1, "groups": {"order": ["sentence_reordering"]}},
    "soft": {"mode": "soft", "strength": 0.1},
    "low rank": {"mode": "partial", "groups": "task", "rank": 4},
    "low rank above": {"mode": "partial", "rank": 2, "layers": 1},
    "levels": {"mode": "hierarchical"},
    "levels of a table": {"mode": "hierarchical", "levels": {"capitalization": 2}},
    "fed": {"mode": "hierarchical", "feed": True},
}


def run_of(corpus: Corpus, sharing: Mapping[str, Any], **encoder: Any) -> Run:
    sizes = {"layers": 3, "hidden_size": 32, "attention_heads": 2, "maximum_positions": 64}
    return make_run(corpus, STAGES, sharing=sharing, encoder=sizes | {"dropout": 0.0} | encoder)


def shaken(run: Run) -> MultiTaskModel:
    """A model in which each copy of a layer has weights of its own."""
    model = run.new_model().double()
    shake(model)
    return model


def mixed_batch(run: Run, tasks: tuple[int, ...] = (0, 1, 2, 1, 0, 2)) -> Batch:
    """Rows of two samples each, of tasks in turn."""
    samples = [(task, number) for number, task in enumerate(tasks)]
    return batch_of(run, [samples[first : first + 2] for first in range(0, len(samples), 2)], 128)


def coefficients(model: MultiTaskModel) -> Tensor:
    """What a label of each head and task counts: another number for each."""
    weights = torch.linspace(0.5, 1.5, len(model.specs) * model.tasks, dtype=torch.float64)
    return torch.nn.functional.pad(weights.view(len(model.specs), model.tasks), (0, 1))


def gradients(model: MultiTaskModel, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def stock_weights(model: MultiTaskModel, branch: int) -> dict[str, Tensor]:
    """The parameters of a stock model with the layers of a branch in the place of the last."""
    found = dict(model.encoder.named_parameters())
    rows = [found.pop(name) for name in list(found) if ".rows." in name]
    found["embeddings.task_type_embeddings.weight"] = torch.stack(rows)
    if branch and model.low_rank:
        group = model.low_rank.groups[branch - 1]
        for key, (number, name) in model.low_rank._names.items():
            part = model.low_rank.up[key][group] @ model.low_rank.down[key][group]
            weight = f"encoder.layer.{number}.{name}.weight"
            found[weight] = found[weight] + part
    elif branch:
        layers = list(model.family.branches.values())[branch - 1]
        first = len(model.family.layers) - len(layers)
        for number, layer in enumerate(layers, first):
            for name, parameter in layer.named_parameters():
                found[f"encoder.layer.{number}.{name}"] = parameter
    return found


def stock_loss(model: MultiTaskModel, batch: Batch) -> Tensor:
    """The loss of a batch, each sequence alone through the stock model of its task's branch."""
    config = model.family.stock_config()
    config._attn_implementation = "eager"
    stock = ErnieModel(config).double().eval()
    slots, layers = batch.token_ids.size, len(model.family.layers)
    states = [torch.zeros(slots, model.family.hidden_size).double() for _ in range(layers + 1)]
    branches = model.branch_of[batch.sequence_tasks] if len(model.branch_of) else [0] * 99
    for start, length, task, branch in zip(
        batch.sequence_starts, batch.sequence_lengths, batch.sequence_tasks, branches, strict=False
    ):
        inputs = {
            name: torch.from_numpy(array.flatten()[start : start + length])[None]
            for name, array in (
                ("input_ids", batch.token_ids),
                ("token_type_ids", batch.token_type_ids),
                ("task_type_ids", batch.task_type_ids),
            )
        }
        with feeding(model, stock, int(task)):
            output = torch.func.functional_call(
                stock,
                stock_weights(model, int(branch)),
                kwargs=inputs | {"output_hidden_states": True},
            )
        places = torch.arange(start, start + length)
        for depth, found in enumerate(output.hidden_states):
            states[depth] = states[depth].index_put((places,), found[0])
    loss = torch.zeros((), dtype=torch.float64)
    targets = model.on_device(batch, CPU).targets
    for row, (name, spec) in enumerate(model.specs.items()):
        labels = targets[name]
        places = torch.from_numpy(batch.targets[name].positions.flatten())
        weights = coefficients(model)[row][labels.tasks]
        loss = loss + model._losses(name, states[spec.encoder_layer][places], labels, weights)[0]
    return loss


@contextmanager
def feeding(model: MultiTaskModel, stock: ErnieModel, task: int) -> Iterator[None]:
    """Add what lower tasks predict to the states of a sequence of a task, after their layers."""
    handles = []
    for feed in model.feeds:
        if task not in feed.receivers:
            continue

        def add(_: Any, __: Any, states: Tensor, feed: Feed = feed) -> Tensor:
            read = states[0, :1] if feed.whole_sequence else states[0]
            if feed.whole_sequence:
                pooler = model.encoder.pooler.dense
                read = torch.tanh(read @ pooler.weight.T + pooler.bias)
            head = model.heads[feed.head].dense
            scores = read @ head.weight.T + head.bias
            parts = scores.exp() / scores.exp().sum(-1, keepdim=True)
            added = parts @ model.label_embeddings[feed.head]
            rest = states.shape[1] - len(added)
            return states + torch.nn.functional.pad(added, (0, 0, 0, rest))[None]

        handles.append(stock.encoder.layer[feed.level - 1].register_forward_hook(add))
    yield
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("name", MODES)
def test_a_mode_equals_a_stock_model_for_each_branch(english: Corpus, name: str) -> None:
    run = run_of(english, MODES[name])
    model = shaken(run)
    batch = mixed_batch(run)
    expected_loss = stock_loss(model, batch)
    expected = gradients(model, expected_loss)
    loss, _ = model(model.on_device(batch, CPU), coefficients(model))
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=0)
    found = gradients(model, loss)
    assert expected.keys() <= found.keys()
    for key, gradient in found.items():
        wanted = expected.get(key, torch.zeros_like(gradient))
        torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-12, msg=key)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", [name for name in MODES if "level" not in name and name != "fed"])
def test_branches_begin_as_hard_sharing(english: Corpus, name: str, encoder: str) -> None:
    run, hard = (run_of(english, MODES[mode], **ENCODERS[encoder]) for mode in (name, "hard"))
    batch = mixed_batch(hard)
    losses = [
        model(model.on_device(batch, CPU), coefficients(model))
        for model in (one.new_model().double() for one in (run, hard))
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=1e-12)


def test_neighbours_in_a_row_change_nothing(english: Corpus) -> None:
    run = run_of(english, MODES["a task each"])
    model = shaken(run)
    samples = [(task, number) for task in (0, 1, 2) for number in (0, 1)]
    losses = []
    for order in ([0, 1, 2, 3, 4, 5], [5, 2, 0, 4, 1, 3]):
        placed = [samples[place] for place in order]
        batch = batch_of(run, [placed[first : first + 2] for first in (0, 2, 4)], 128)
        losses.append(model(model.on_device(batch, CPU), coefficients(model))[0])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)


def test_a_branch_without_samples_is_in_the_graph(english: Corpus) -> None:
    run = run_of(english, MODES["a family each"])
    model = shaken(run)
    loss, _ = model(model.on_device(mixed_batch(run, (0, 0)), CPU), coefficients(model))
    found = gradients(model, loss)
    assert all(name in found for name, _ in model.named_parameters())
    for name, gradient in found.items():
        if name.startswith("branches."):
            assert not gradient.any()


def test_what_is_fed_is_zero_at_first(english: Corpus) -> None:
    runs = [run_of(english, MODES[name]) for name in ("fed", "levels")]
    batch = mixed_batch(runs[0])
    fed, levels = (run.new_model().double() for run in runs)
    assert [(feed.head, feed.level, feed.receivers) for feed in fed.feeds] == [
        ("capitalization/capital", 1, (2,))
    ]
    losses = [model(model.on_device(batch, CPU), coefficients(model))[0] for model in (fed, levels)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)
    assert gradients(fed, losses[0])["label_embeddings.capitalization/capital"].any()


def test_own_heads_read_the_layer_of_their_level(english: Corpus) -> None:
    specs = run_of(english, MODES["levels"], layers=6).make_model().specs
    assert {name: spec.encoder_layer for name, spec in specs.items()} == {
        "masked_token": -1,
        "capitalization/capital": 2,
        "sentence_reordering/order": 4,
    }


def test_scores_of_places_are_in_the_order_of_the_batch(english: Corpus) -> None:
    run = run_of(english, MODES["a task each"])
    model, batch = shaken(run), mixed_batch(run)
    scores = model.masked_token_scores(model.on_device(batch, CPU))
    targets = batch.targets["masked_token"]
    expected = model.head_scores(model.on_device(batch, CPU), "masked_token")
    torch.testing.assert_close(scores[targets.positions], expected, rtol=1e-12, atol=1e-12)


def test_until_a_branch_begins_its_tasks_take_the_trunk(english: Corpus) -> None:
    run = make_run(
        english,
        [{"knowledge_masking": 4}, {"knowledge_masking": 2, "sentence_reordering": 2}],
        sharing=MODES["a family each"],
    )
    model = run.make_model()
    assert model.sharing.branches == ("syntactic",)
    assert model.sharing.beginnings == (4,)
    assert model.sharing.route(3).tolist() == [0, 0]
    assert model.sharing.route(4).tolist() == [0, 1]
    shake(model)
    model.begin(3)
    pairs = list(copies(model.family.layers, model.family.branches))
    assert not any(torch.equal(found[""], found["syntactic"]) for found in pairs)
    model.begin(4)
    assert all(torch.equal(found[""], found["syntactic"]) for found in pairs)


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_the_pull_is_the_gradient_of_the_distance(english: Corpus, strength: float) -> None:
    model = shaken(run_of(english, {"mode": "soft", "strength": strength, "layers": 2}))
    total = torch.zeros((), dtype=torch.float64)
    for found in copies(model.family.layers, model.family.branches):
        stacked = torch.stack(list(found.values()))
        total = total + (stacked - stacked.mean(0)).square().sum()
    expected = gradients(model, strength * total)
    model.zero_grad(set_to_none=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    distance = model.pull_together(0)
    if not strength:
        assert distance is None
        return
    torch.testing.assert_close(distance, total, rtol=1e-12, atol=0)
    for name, parameter in model.named_parameters():
        wanted = expected.get(name, torch.zeros_like(parameter))
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("sharing", "message"),
    [
        (
            {"mode": "weak"},
            "no sharing mode named 'weak'; registered are hard, hierarchical, partial, related, "
            "soft",
        ),
        ({"mode": "hard", "layers": 2}, "sharing: unknown key 'layers'; accepted: none"),
        ({"mode": "partial", "layers": 9}, "sharing.layers 9 is more than .* 1 to 3"),
        ({"mode": "partial", "layers": 0}, "layers"),
        (
            {"mode": "partial", "groups": {"order": ["sentence_ordering"]}},
            "sharing.groups.order names the task 'sentence_ordering'; did you mean",
        ),
        (
            {"mode": "partial", "groups": {"a": ["capitalization"], "b": ["capitalization"]}},
            "names the task 'capitalization' in 'a' and 'b'",
        ),
        ({"mode": "partial", "groups": {"a.b": ["capitalization"]}}, "'a.b' is not made of"),
        ({"mode": "soft", "strength": -1}, "strength"),
        (
            {"mode": "hierarchical", "levels": {"capitalization": 4}},
            "sharing.levels.capitalization 4 is beyond the encoder; accepted are 1 to 3",
        ),
        ({"mode": "hierarchical", "levels": {"capital": 1}}, "names the task 'capital'; did you"),
        (
            {"mode": "hierarchical", "levels": {"knowledge_masking": 1}, "feed": True},
            "task 'knowledge_masking' predicts no classes",
        ),
        ({"mode": "hierarchical", "levels": {}, "feed": True}, "no task below the last layer"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    english: Corpus, sharing: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run_of(english, sharing).make_model()


def test_soft_sharing_needs_two_tasks(english: Corpus) -> None:
    run = make_run(english, [{"knowledge_masking": 4}], sharing={"mode": "soft"})
    with pytest.raises(UserError, match=r"needs at least two tasks.*accepted: hard"):
        run.make_model()


def test_places_without_a_sequence_are_the_trunks(english: Corpus) -> None:
    run = run_of(english, MODES["a task each"])
    model, batch = run.make_model(), mixed_batch(run)
    moved = model.on_device(batch, CPU)
    sizes = [part.stop - part.start for part in moved.slices]
    real = np.bincount(batch.sequence_tasks, weights=batch.sequence_lengths).astype(int)
    assert sum(sizes) == batch.token_ids.size + padding_places(2)
    assert all(size % MULTIPLE == 0 for size in sizes)
    assert all(
        0 < size - tokens <= MULTIPLE for size, tokens in zip(sizes[1:], real[1:], strict=True)
    )
    assert sizes[0] > real[0]


def test_operations_of_low_rank_parts_are_counted(english: Corpus) -> None:
    counted, declared = [], []
    for name in ("hard", "low rank"):
        run = run_of(english, MODES[name])
        model, batch = run.new_model(), mixed_batch(run)
        with FlopCounterMode(display=False) as counter:
            model(model.on_device(batch, CPU), coefficients(model).float())[0].backward()
        counted.append(counter.get_total_flops())
        # Of the batch, padding is computed too.
        places = batch.token_ids.size / batch.sequence_lengths.sum()
        declared.append(training_flops(model, batch) * places)
    # After the attention of the last layer, few places are read, and the parts count them all.
    assert counted[1] - counted[0] == pytest.approx(declared[1] - declared[0], rel=0.35)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a family each", "low rank", "fed", "soft"])
def test_compiled_layers_compute_the_same_and_are_compiled_once(english: Corpus, name: str) -> None:
    run = run_of(english, MODES[name])
    model = run.new_model()
    shake(model)
    batches = [
        model.on_device(mixed_batch(run, tasks), CPU)
        for tasks in ((0, 1, 2, 1, 0, 2), (0, 0, 1, 2, 2, 2))
    ]
    weights = coefficients(model).float()
    expected = [model(batch, weights)[0] for batch in batches]
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    model.family.compile_layers(counter)
    compiled = []
    for _ in range(2):
        found = [model(batch, weights)[0] for batch in batches]
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
        compiled.append(counter.frame_count)
    assert compiled[0] == compiled[1]


@pytest.mark.parametrize(("mode", "asked"), [("hard", 0), ("levels", 1)])
def test_only_a_mode_that_counts_layers_looks_a_checkpoint_up(
    english: Corpus, monkeypatch: pytest.MonkeyPatch, mode: str, asked: int
) -> None:
    """Looking one up may ask the Hub; where that fails, the written sizes count."""
    calls = []

    def sized(config: EncoderConfig) -> EncoderConfig:
        calls.append(config)
        raise UserError("no such checkpoint")

    monkeypatch.setattr(encoder_family("ernie"), "sized", sized)
    run = run_of(english, MODES[mode], init_from="nowhere", layers=6)
    levels = {instance.name: instance.level for instance in run.instances}
    assert len(calls) == asked
    expected = (None, None, None) if mode == "hard" else (2, 2, 4)
    assert levels == dict(zip(TASKS, expected, strict=True))
