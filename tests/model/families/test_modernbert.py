"""ModernBERT over packed rows is the stock class over padded ones: states, gradients, windows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import ModernBertForMaskedLM

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.encoder import LayerWeights
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.flops import encoder_flops
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.read_places import ReadPlaces
from ernie_cmtl.model.task_parameters import idle_parameters
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.records import Batch
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.optimizer import OptimizerConfig, build_optimizer
from tests.support.models import shake
from tests.support.runs import tiny_settings

LENGTHS = (3, 40, 17, 60, 9, 33, 31)
ROW = 64
WINDOWS: dict[str, dict[str, Any]] = {
    "all_global": {},
    "every_second": {"local_attention": 8, "global_every": 2, "local_rotary_base": 100.0},
    "first_only": {"local_attention": 2, "global_every": 9},
}


def run_of(corpus: Corpus, **encoder: Any) -> Run:
    settings = tiny_settings(corpus, Path("unused"))
    settings["encoder"] |= {"architecture": "modernbert", "dropout": 0.0} | encoder
    return Run(RunConfig.model_validate(settings))


@pytest.fixture(params=WINDOWS)
def model(request: pytest.FixtureRequest, english: Corpus) -> MultiTaskModel:
    """A model of four layers whose weights all show."""
    made = run_of(english, layers=4, **WINDOWS[request.param]).make_model()
    shake(made)
    return made


def packed_rows() -> tuple[Batch, list[slice]]:
    """Sequences in rows, and where each stands in the flattened batch."""
    rng = np.random.default_rng(0)
    rows: list[list[int]] = []
    for length in LENGTHS:
        if not rows or sum(rows[-1]) + length > ROW:
            rows.append([])
        rows[-1].append(length)
    shape = len(rows), ROW
    tokens, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    spans = []
    for row, lengths in enumerate(rows):
        place = 0
        for length in lengths:
            tokens[row, place : place + length] = rng.integers(5, 200, length)
            positions[row, place : place + length] = np.arange(length)
            spans.append(slice(row * ROW + place, row * ROW + place + length))
            place += length
    starts = np.array([span.start for span in spans])
    zeros = np.zeros(shape, np.int64)
    # Segments are given and not read.
    batch = Batch(tokens, zeros + 3, zeros, positions, starts, np.array(LENGTHS), {})
    return batch, spans


def padded_states(stock: ModernBertForMaskedLM, batch: Batch, spans: list[slice]) -> list[Tensor]:
    """States of the stock class in which all sequences are padded to one width."""
    width = max(LENGTHS) + 5
    ids = torch.zeros(len(spans), width, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, span in enumerate(spans):
        own = torch.from_numpy(batch.token_ids.reshape(-1)[span])
        ids[row, : len(own)], mask[row, : len(own)] = own, 1
    states = stock.model(input_ids=ids, attention_mask=mask).last_hidden_state
    return [states[row, : span.stop - span.start] for row, span in enumerate(spans)]


def test_states_and_gradients_are_those_of_the_stock_class(model: MultiTaskModel) -> None:
    batch, spans = packed_rows()
    family = model.family
    stock = family.stock_model(model.vocabulary_head, 0)
    stock.set_attn_implementation("eager")
    found = family.encode(TensorBatch.of(batch, torch.device("cpu")), None, False).last.flatten(
        0, 1
    )
    expected = padded_states(stock, batch, spans)
    for span, states in zip(spans, expected, strict=True):
        torch.testing.assert_close(found[span], states, atol=1e-5, rtol=0)
    chance = torch.Generator().manual_seed(1)
    weights = torch.randn(found.shape, generator=chance)
    sum((found[span] * weights[span]).sum() for span in spans).backward()
    sum((s * weights[span]).sum() for span, s in zip(spans, expected, strict=True)).backward()
    theirs = dict(stock.model.named_parameters())
    ours = {n: p for n, p in family.module.named_parameters() if "task_type" not in n}
    assert ours.keys() == theirs.keys()
    for name, parameter in ours.items():
        assert parameter.grad is not None
        wanted = theirs[name].grad
        if name == "embeddings.tok_embeddings.weight":
            # The stock class keeps [PAD] without a gradient, and so do we.
            assert not parameter.grad[0].any()
        difference = (parameter.grad - wanted).norm() / wanted.norm()
        assert float(difference) < 1e-5, name


@torch.no_grad()
def test_the_last_layer_gives_the_states_of_the_places_that_are_read(
    model: MultiTaskModel,
) -> None:
    batch, _ = packed_rows()
    moved = TensorBatch.of(batch, torch.device("cpu"))
    whole = model.family.encode(moved, None, False).last.flatten(0, 1)
    places = np.array([5, 1, 70, 70, 130])
    read = model.family.encode(moved, ReadPlaces(torch.from_numpy(places), places), False).last[0]
    torch.testing.assert_close(read, whole[places], atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_local_layer_sees_its_window_and_no_more(english: Corpus) -> None:
    # The first layer is global, so what the second adds is told by its own attention.
    family = run_of(english, local_attention=8, global_every=2).make_model().family
    batch, spans = packed_rows()
    moved = TensorBatch.of(batch, torch.device("cpu"))
    states = torch.randn(*batch.token_ids.shape, 32, generator=torch.Generator().manual_seed(1))
    place = spans[3].start + 30
    changed = states.flatten(0, 1).clone()
    changed[place] *= -1
    layer, inputs = family.layers[1], family.layer_inputs(moved)
    before = layer(states, **inputs).flatten(0, 1)
    after = layer(changed.view_as(states), **inputs).flatten(0, 1)
    differ = (after != before).any(-1).nonzero().flatten().tolist()
    assert differ == list(range(place - 4, place + 5))


def test_bf16_with_windows_is_finite_beside_padding(english: Corpus) -> None:
    model = run_of(english, local_attention=2, global_every=2).make_model()
    shake(model)
    batch, _ = packed_rows()
    with torch.autocast("cpu", torch.bfloat16):
        states = model.family.encode(TensorBatch.of(batch, torch.device("cpu")), None, False).last
    states.float().square().sum().backward()
    assert states.isfinite().all()
    for parameter in model.family.module.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_sequence_heads_share_the_first_part_of_the_vocabulary_head(english: Corpus) -> None:
    model = run_of(english).make_model()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    heads = list(model.specs)

    def idle(active: str) -> set[str]:
        labelled = torch.zeros(len(heads), model.tasks, dtype=torch.bool)
        labelled[heads.index(active), 0] = True
        rows = [{number} for number in range(model.tasks)]
        return {names[id(p)] for p in idle_parameters(model, labelled, rows)}

    shared = {
        "heads.masked_token.transform.dense.weight",
        "heads.masked_token.transform.norm.weight",
    }
    assert shared <= {*names.values()}
    assert not shared & idle("masked_token")
    assert not shared & idle("sentence_reordering/order")
    assert "heads.masked_token.bias" in idle("sentence_reordering/order")
    assert shared <= idle("capitalization/capital")


def test_muon_gets_the_matrices_and_no_norm_is_decayed(english: Corpus) -> None:
    model = run_of(english).make_model()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    adamw, muon = build_optimizer(
        model, OptimizerConfig(kind="muon"), model.family.norms, model.family.matrices
    ).parts
    parts = ("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo")
    assert [names[id(p)] for p in muon.param_groups[0]["params"]] == [
        f"encoder.layers.{number}.{part}.weight" for number in range(2) for part in parts
    ]
    free = {names[id(p)] for p in adamw.param_groups[1]["params"]}
    assert {name for name in free if name.endswith("norm.weight")} == {
        *("encoder.embeddings.norm.weight", "encoder.layers.1.attn_norm.weight"),
        *(f"encoder.layers.{number}.mlp_norm.weight" for number in range(2)),
        *("encoder.final_norm.weight", "heads.masked_token.transform.norm.weight"),
    }


def test_it_has_as_many_weights_as_ernie_and_no_positions(english: Corpus) -> None:
    family = run_of(english, hidden_size=64).make_model().family
    # 8/3 of 64, up to a multiple of 32.
    assert family.config.intermediate_size == 192
    layer = family.layers[1]
    matrices = sum(p.numel() for p in layer.parameters() if p.ndim == 2)
    assert matrices == sum(family.weights_of_layer(family.config))
    assert not [name for name in family.module.state_dict() if "position" in name]


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ({"positions": "learned"}, r"has no positions of the kind 'learned'; set .*=rotary"),
        ({"local_attention": 66}, r"wider than a row \(data.row_length 64\); accepted: 2 to 64"),
        ({"local_attention": 7}, r"multiple of 2"),
        ({"local_attention": 0}, r"greater than or equal to 2"),
        ({"global_every": 2}, r"there are none; set encoder.local_attention"),
        ({"local_rotary_base": 2.0}, r"there are none; set encoder.local_attention"),
        (
            {"architecture": "ernie", "local_attention": 8},
            r"'ernie' has no local_attention, which is set to 8; .*leave encoder.local",
        ),
        ({"architecture": "ernie", "global_every": 3}, r"'ernie' has no global_every"),
        ({"architecture": "ernie", "local_rotary_base": 3}, r"'ernie' has no local_rotary_base"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    english: Corpus, encoder: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run_of(english, **encoder)


def test_odd_heads_are_refused_where_positions_are_left_out(english: Corpus) -> None:
    with pytest.raises(UserError, match=r"heads of size 15 .* are odd"):
        run_of(english, hidden_size=30).make_model()


def test_a_family_that_says_nothing_of_them_has_no_such_settings() -> None:
    config = EncoderConfig(local_attention=8)
    with pytest.raises(UserError, match="of such settings it has none"):
        config.settled(("learned",), ())
    assert EncoderConfig().settled(("rotary", "learned"), ()).positions == "rotary"


def test_a_local_layer_counts_the_pairs_of_its_window() -> None:
    sizes = {"layers": 3, "hidden_size": 8, "attention_heads": 2, "intermediate_size": 8}
    config = EncoderConfig(**sizes, local_attention=4, global_every=2)
    lengths = {7: 2, 2: 1}
    pairs = [
        sum(
            count * sum(abs(i - j) <= radius for i in range(length) for j in range(length))
            for length, count in lengths.items()
        )
        for radius in (99, 2)
    ]
    # One of three layers is local.
    expected = 12 * 8 * (2 * pairs[0] + pairs[1]) + 6 * 3 * (10 + 20) * 16
    assert encoder_flops(config, LayerWeights(10, 20), lengths) == expected
