"""A run put together: weights that follow from seed and names alone, and a start from another
model's checkpoint.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import (
    DistilBertConfig,
    DistilBertForMaskedLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
)

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.tokens.tokenizer import load_tokenizer
from ernie_cmtl.errors import UserError
from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.export.writer import write_export
from tests.support.corpora import build_corpus, sample_texts
from tests.support.models import (
    ROW,
    SIZES,
    largest_difference,
    save_bert,
    sentences,
    shake,
    start_from,
    vocabulary_scores,
)
from tests.support.runs import make_run

FLAT = ("bias", "LayerNorm.weight")
"""Endings of the parameters that start as constants."""


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


@torch.no_grad()
def bert_scores(bert: PreTrainedModel, corpus: Corpus, segment: int = 0) -> list[Tensor]:
    found = []
    for row in sentences(corpus):
        token_ids = torch.tensor([row])
        found.append(
            bert(
                input_ids=token_ids, token_type_ids=torch.full_like(token_ids, segment)
            ).prediction_logits[0]
        )
    return found


def test_a_seed_decides_every_weight_whatever_was_drawn_before(english: Corpus) -> None:
    torch.manual_seed(1)
    first = weights(make_run(english).new_model())
    torch.manual_seed(2)
    torch.rand(3)
    assert equal(weights(make_run(english).new_model()), first)


def test_another_seed_gives_other_weights_everywhere(english: Corpus) -> None:
    first, second = (
        dict(make_run(english, seed=seed).new_model().named_parameters()) for seed in (1, 2)
    )
    drawn = [name for name in first if not name.endswith(FLAT)]
    assert len(drawn) > 40
    # The embedding of [PAD] is a row of zeros; one equal row is no equal table.
    assert not [name for name in drawn if torch.equal(first[name], second[name])]


def test_making_a_model_draws_nothing_from_the_global_generator(english: Corpus) -> None:
    run = make_run(english)
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    run.new_model()
    assert torch.equal(torch.rand(4), expected)


def test_the_first_weights_of_a_head_depend_on_seed_and_name_alone(english: Corpus) -> None:
    head = "sentence_reordering/order"
    alone = make_run(english, [{"sentence_reordering": 3}]).new_model()
    together = make_run(
        english, [{"knowledge_masking": 1}, {"capitalization": 2, "sentence_reordering": 3}]
    ).new_model()
    assert equal(weights(alone.heads[head]), weights(together.heads[head]))
    assert equal(weights(alone.heads["masked_token"]), weights(together.heads["masked_token"]))
    assert equal(weights(alone.encoder), weights(together.encoder))
    other_seed = make_run(english, [{"sentence_reordering": 3}], seed=2).new_model()
    assert not torch.equal(other_seed.heads[head].dense.weight, alone.heads[head].dense.weight)


def test_masked_tokens_are_first_expected_as_often_as_the_text_has_them(english: Corpus) -> None:
    expected = np.ones(english.vocabulary.size)
    for shard in english.manifest.shards:
        tokens = np.load(english.folder / "shards" / shard.name / "token_ids.npy")[
            : shard.train.tokens
        ]
        np.add.at(expected, tokens, 1)
    bias = make_run(english).new_model().heads["masked_token"].bias
    assert isinstance(bias, Tensor)
    found = bias.detach().double().softmax(0).numpy()
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-5)
    assert abs(float(bias.detach().mean())) < 1e-5


def test_two_instances_of_a_task_have_heads_of_their_own(english: Corpus) -> None:
    tasks = {name: {"type": "sentence_reordering"} for name in ("one", "two")}
    model = make_run(english, [{"one": 1, "two": 1}], tasks=tasks).new_model()
    assert set(model.heads) == {"masked_token", "one/order", "two/order"}
    assert not torch.equal(
        model.heads["one/order"].dense.weight, model.heads["two/order"].dense.weight
    )


def test_instances_take_embedding_rows_in_order_of_introduction(english: Corpus) -> None:
    run = make_run(
        english,
        [
            {"sentence_reordering": 1},
            {"knowledge_masking": 1, "sentence_reordering": 1},
            {"capitalization": 1},
        ],
    )
    assert {instance.name: instance.row for instance in run.instances} == {
        "sentence_reordering": 0,
        "knowledge_masking": 1,
        "capitalization": 2,
    }


def test_a_start_from_bert_scores_masked_tokens_as_that_bert_does(
    english: Corpus, tmp_path: Path
) -> None:
    expected = bert_scores(save_bert(english, tmp_path), english)
    model = start_from(english, tmp_path).new_model()
    assert min(float(scores.std()) for scores in expected) > 0.5
    for task in (0, 2, 31):
        assert largest_difference(vocabulary_scores(model, english, task), expected) < 1e-4


@pytest.mark.parametrize(("segment", "of_bert"), [(1, 1), (2, 1), (3, 1)])
def test_segments_that_bert_does_not_know_start_as_its_last_one(
    english: Corpus, tmp_path: Path, segment: int, of_bert: int
) -> None:
    expected = bert_scores(save_bert(english, tmp_path), english, of_bert)
    model = start_from(english, tmp_path).new_model()
    assert largest_difference(vocabulary_scores(model, english, segment=segment), expected) < 1e-4
    assert largest_difference(vocabulary_scores(model, english, segment=0), expected) > 0.1


def test_a_start_from_bert_takes_its_sizes_and_its_pooler(english: Corpus, tmp_path: Path) -> None:
    bert = save_bert(english, tmp_path, num_hidden_layers=3, layer_norm_eps=1e-7, hidden_act="relu")
    model = start_from(english, tmp_path).new_model()
    config = model.encoder.config
    assert (config.num_hidden_layers, config.intermediate_size, config.layer_norm_eps) == (
        3,
        48,
        1e-7,
    )
    assert torch.equal(model.encoder.pooler.dense.weight, bert.bert.pooler.dense.weight)
    assert largest_difference(vocabulary_scores(model, english), bert_scores(bert, english)) < 1e-4


def test_task_heads_of_a_start_from_bert_are_those_of_the_seed(
    english: Corpus, tmp_path: Path
) -> None:
    save_bert(english, tmp_path)
    head = "sentence_reordering/order"
    started, fresh = start_from(english, tmp_path).new_model(), make_run(english).new_model()
    assert equal(weights(started.heads[head]), weights(fresh.heads[head]))


def test_a_start_from_bert_with_more_rows_than_tokens_scores_the_tokens_alike(
    english: Corpus, tmp_path: Path
) -> None:
    """Published checkpoints pad their embedding tables to a round number of rows; the tokenizer is
    the same all the same.
    """
    size = english.vocabulary.size
    expected = [
        scores[:, :size]
        for scores in bert_scores(save_bert(english, tmp_path, vocabulary=size + 24), english)
    ]
    found = [
        scores[:, :size]
        for scores in vocabulary_scores(start_from(english, tmp_path).new_model(), english)
    ]
    assert largest_difference(found, expected) < 1e-4


def test_a_start_from_an_export_goes_on_where_the_exported_model_was(
    english: Corpus, tmp_path: Path
) -> None:
    run = make_run(english)
    model = run.new_model()
    shake(model)
    about = {"steps": 1, "stages": [], "tasks": {}, "losses": {}, "losses_at_step": None}
    write_export("hf", TrainedModel(model, run.corpus.tokenizer, 0, about), tmp_path / "export")
    started = start_from(english, tmp_path / "export").new_model()
    rows = [vocabulary_scores(model, english, task, segment=task % 4) for task in range(4)]
    for task, expected in enumerate(rows):
        assert (
            largest_difference(
                vocabulary_scores(started, english, task, segment=task % 4), expected
            )
            < 1e-5
        )
    assert largest_difference(rows[0], rows[1]) > 0.1
    assert equal(weights(started.encoder), weights(model.encoder))


@pytest.mark.parametrize("of_checkpoint", ["fewer rows", "fewer tokens"])
def test_tokens_that_the_checkpoint_lacks_get_fresh_rows(
    english: Corpus,
    tmp_path: Path,
    of_checkpoint: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A tokenizer with added tokens whose model was never resized, or of the corpus alone."""
    given, source = tmp_path / "given", tmp_path / "bert"
    english.tokenizer.save_pretrained(str(given))
    added = load_tokenizer(given)
    added.add_tokens(["[URL]", "[USER]"], special_tokens=True)
    added.save_pretrained(str(given))
    texts = [f"{text[:500]} [URL] [USER]" for text in sample_texts("en", 12)]
    build_corpus(tmp_path, texts, tokenizer={"name_or_path": str(given)})
    corpus, size = Corpus(tmp_path / "corpus"), english.vocabulary.size
    assert corpus.vocabulary.size == size + 2
    bert = save_bert(english, source)
    if of_checkpoint == "fewer rows":
        added.save_pretrained(str(source))
    with caplog.at_level("WARNING"):
        started = start_from(corpus, source).new_model()
    assert f"word_embeddings.weight of tokens {size} to {size + 1}: freshly" in caplog.text
    rows = started.encoder.embeddings.word_embeddings.weight
    assert torch.equal(rows[:size], bert.bert.embeddings.word_embeddings.weight)
    # Fresh ones are drawn with a standard deviation of 0.02; those of the checkpoint were shaken.
    assert 0 < rows[size:].abs().max() < 0.12
    bias = started.vocabulary_head.bias
    assert torch.equal(bias[:size], bert.cls.predictions.bias)
    assert all(torch.isfinite(scores).all() for scores in vocabulary_scores(started, corpus))


def test_tokens_with_other_numbers_in_a_larger_vocabulary_are_refused(
    english: Corpus, chinese: Corpus, tmp_path: Path
) -> None:
    small, large = sorted((english, chinese), key=lambda corpus: corpus.vocabulary.size)
    save_bert(small, tmp_path)
    with pytest.raises(UserError, match="another vocabulary than the corpus"):
        start_from(large, tmp_path).new_model()


def test_a_checkpoint_with_another_vocabulary_is_refused(
    english: Corpus, chinese: Corpus, tmp_path: Path
) -> None:
    save_bert(chinese, tmp_path, vocabulary=english.vocabulary.size)
    with pytest.raises(
        UserError, match="another vocabulary than the corpus; prepare the corpus with --tokenizer"
    ):
        start_from(english, tmp_path).new_model()


@pytest.mark.parametrize(
    ("kind", "model", "config"),
    [
        (
            "roberta",
            RobertaForMaskedLM,
            RobertaConfig(vocab_size=2000, intermediate_size=48, **SIZES),
        ),
        (
            "distilbert",
            DistilBertForMaskedLM,
            DistilBertConfig(vocab_size=2000, dim=32, hidden_dim=48, n_layers=1, n_heads=2),
        ),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused_by_name(
    english: Corpus, tmp_path: Path, kind: str, model: type[PreTrainedModel], config: Any
) -> None:
    model(config).save_pretrained(tmp_path)
    english.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match=f"is a '{kind}' checkpoint; accepted with learned positions: bert, ernie"
    ):
        start_from(english, tmp_path).new_model()


def test_a_checkpoint_that_is_not_there_is_refused_by_path(english: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent"):
        start_from(english, tmp_path / "absent").new_model()


def test_pickled_weights_are_refused(english: Corpus, tmp_path: Path) -> None:
    bert = save_bert(english, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(bert.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        start_from(english, tmp_path).new_model()


def test_a_checkpoint_with_fewer_positions_than_a_row_is_refused(
    english: Corpus, tmp_path: Path
) -> None:
    save_bert(english, tmp_path, max_position_embeddings=ROW - 1)
    with pytest.raises(
        UserError,
        match=f"samples of {ROW} tokens are longer than the encoder's {ROW - 1} positions",
    ):
        start_from(english, tmp_path).new_model()


def test_an_unknown_activation_is_an_error_of_the_user(english: Corpus) -> None:
    with pytest.raises(ValidationError, match=r"did you mean 'gelu'\? accepted: .*\bgelu\b"):
        make_run(
            english,
            encoder={"layers": 1, "hidden_size": 32, "attention_heads": 2, "activation": "gellu"},
        ).new_model()


@pytest.mark.parametrize(
    ("tasks", "budgets", "parts"),
    [
        (
            {},
            {"nonsense": 1},
            ("'nonsense'", "capitalization", "knowledge_masking", "sentence_reordering"),
        ),
        ({"mine": {"type": "nonsense"}}, {"mine": 1}, ("'nonsense'", "capitalization")),
        (
            {"capitalization": {"rate": 0.1}},
            {"capitalization": 1},
            ("tasks.capitalization", "'rate'", "maximum_length"),
        ),
        (
            {"knowledge_masking": {"masking": {"rate": 7}}},
            {"knowledge_masking": 1},
            ("tasks.knowledge_masking", "masking.rate", "7"),
        ),
    ],
)
def test_a_task_that_cannot_be_made_is_named(
    english: Corpus, tasks: dict[str, Any], budgets: dict[str, int], parts: tuple[str, ...]
) -> None:
    run = make_run(english, [budgets], tasks=tasks)
    with pytest.raises(UserError) as caught:
        _ = run.instances
    assert all(part in str(caught.value) for part in parts)


def test_a_task_of_another_language_is_refused(chinese: Corpus) -> None:
    with pytest.raises(UserError, match="'capitalization' supports en; the corpus is 'zh'"):
        _ = make_run(chinese, [{"capitalization": 1}]).instances
