"""A run starts from another person's ModernBERT: a byte-level vocabulary with case, padded tables,
older words for its settings.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
)

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.run import Run
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.extend import Extension, extended_config
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.command_line import result_of
from tests.support.corpora import build_corpus, sample_texts
from tests.support.models import largest_difference, sentences, shake, vocabulary_scores
from tests.support.runs import Watcher, tiny_settings

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "local_attention": 8,
}
PADDED = 13
"""Rows of the word table beyond the last token."""


def byte_level(folder: Path) -> PreTrainedTokenizerFast:
    """Train and save a cased byte-level BPE tokenizer, as ModernBERT has."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample_texts("en"), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **names)
    made.save_pretrained(folder)
    return made


def save_modernbert(folder: Path, **changes: Any) -> ModernBertForMaskedLM:
    """Save a shaken model beside its tokenizer, whose tables are padded."""
    tokenizer = byte_level(folder)
    special = {name: getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep")}
    settings = SIZES | {f"{name}_token_id": number for name, number in special.items()}
    settings |= {"bos_token_id": special["cls"], "eos_token_id": special["sep"]}
    config = ModernBertConfig(vocab_size=len(tokenizer) + PADDED, **(settings | changes))
    made = ModernBertForMaskedLM(config)
    shake(made)
    made.tie_weights()
    made.save_pretrained(folder)
    return made.train(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and a corpus with its tokenizer."""
    found = tmp_path_factory.mktemp("stock")
    save_modernbert(found / "model")
    build_corpus(found, sample_texts("en"), tokenizer={"name_or_path": str(found / "model")})
    return found


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    return Corpus(folder / "corpus")


def starting(corpus: Corpus, model: Path, run: Path | str = "unused", **encoder: Any) -> RunConfig:
    settings = tiny_settings(corpus, Path(run))
    settings["encoder"] = {"architecture": "modernbert", "init_from": str(model)} | encoder
    settings["stages"] = [
        {"name": "first", "budgets": {"knowledge_masking": 3}},
        {"name": "second", "budgets": {"knowledge_masking": 1, "sentence_reordering": 2}},
    ]
    return RunConfig.model_validate(settings)


def scores_of(stock: ModernBertForMaskedLM, corpus: Corpus) -> list[torch.Tensor]:
    size = corpus.vocabulary.size
    with torch.no_grad():
        return [
            stock(torch.tensor([row])).logits[0, :, :size].log_softmax(-1)
            for row in sentences(corpus)
        ]


def test_the_encoder_computes_at_first_what_the_checkpoint_does(
    folder: Path, corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    model = Run(starting(corpus, folder / "model")).new_model()
    assert not caplog.messages
    config = model.family.config
    assert (config.layers, config.intermediate_size, config.maximum_positions) == (4, 64, 128)
    assert (config.local_attention, config.global_every) == (8, 3)
    assert (config.rotary_base, config.local_rotary_base) == (160_000, 10_000)
    assert len(model.family.word_embeddings) == corpus.vocabulary.size
    stock = AutoModelForMaskedLM.from_pretrained(folder / "model").train(False)
    assert stock.config.vocab_size == corpus.vocabulary.size + PADDED
    for task in (0, 5):
        found = [rows.log_softmax(-1) for rows in vocabulary_scores(model, corpus, task)]
        assert largest_difference(found, scores_of(stock, corpus)) < 1e-4


def test_it_is_trained_extended_exported_and_fine_tuned(
    folder: Path, corpus: Corpus, tmp_path: Path
) -> None:
    assert "letter_case" not in corpus.manifest.layers
    pretrain(starting(corpus, folder / "model", tmp_path / "run"), Watcher())
    report = pretrain(
        extended_config(tmp_path / "run", Extension("sentence_order", budget=2)), Watcher()
    )
    assert "sentence_order/order" in report["losses"]
    result = export_run(tmp_path / "run", tmp_path / "export", None)
    assert result["max_abs_log_probability_difference"] < 1e-4
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "export")
    assert tokenizer.tokenize("The List") == corpus.tokenizer.tokenize("The List")
    assert tokenizer.tokenize("The List") != tokenizer.tokenize("the list")
    rows = "".join(f"The list {n} is {w}\t{w}\n" for n in range(8) for w in ("empty", "sorted"))
    (tmp_path / "rows.tsv").write_text("sentence\tlabel\n" + rows, encoding="utf-8")
    recipe = {
        "kind": "classification",
        "data": {"train": "rows.tsv", "dev": "rows.tsv"},
        "columns": {"text": "sentence", "label": "label"},
        "train": {"epochs": 1, "batch_size": 8, "learning_rates": [1e-3], "seeds": [1]},
        "task_row": 1,
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    for model in (tmp_path / "export", folder / "model"):
        plain = [] if model == tmp_path / "export" else ["task_row=null"]
        found = result_of(
            *("finetune", model, "--task", tmp_path / "recipe.yaml", "--data", tmp_path, *plain)
        )
        assert 0 <= found["mean"] <= 1


def test_a_task_that_needs_letter_case_says_that_the_vocabulary_shows_it(
    folder: Path, corpus: Corpus
) -> None:
    config = starting(corpus, folder / "model")
    stages = [config.stages[0].model_copy(update={"budgets": {"capitalization": 3}})]
    with pytest.raises(UserError, match=r"'capitalization' needs layer 'letter_case'"):
        _ = Run(config.model_copy(update={"stages": stages})).instances


def test_older_words_for_windows_and_bases_are_read(
    folder: Path, corpus: Corpus, tmp_path: Path
) -> None:
    save_modernbert(tmp_path)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    for name in ("layer_types", "rope_parameters"):
        del settings[name]
    older = {"global_attn_every_n_layers": 2, "global_rope_theta": 800.0, "local_rope_theta": 70.0}
    path.write_text(json.dumps(settings | older), encoding="utf-8")
    config = Run(starting(corpus, tmp_path)).make_model().family.config
    assert (config.global_every, config.rotary_base, config.local_rotary_base) == (2, 800, 70)


def test_without_a_bias_of_the_decoder_it_begins_at_zero(
    folder: Path, corpus: Corpus, tmp_path: Path
) -> None:
    stock = save_modernbert(tmp_path, decoder_bias=False)
    model = Run(starting(corpus, tmp_path)).new_model()
    assert not model.vocabulary_head.bias.any()
    found = [rows.log_softmax(-1) for rows in vocabulary_scores(model, corpus)]
    assert largest_difference(found, scores_of(stock, corpus)) < 1e-4


def test_tokens_beyond_the_checkpoint_s_get_fresh_rows(
    corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_modernbert(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    fewer = corpus.vocabulary.size - 2
    for name in ("model.embeddings.tok_embeddings.weight", "decoder.bias"):
        weights[name] = weights[name][:fewer].clone()
    weights.pop("decoder.weight", None)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(settings | {"vocab_size": fewer}), encoding="utf-8")
    model = Run(starting(corpus, tmp_path)).new_model()
    assert f"tok_embeddings.weight of tokens {fewer} to {fewer + 1}" in caplog.text
    table = weights["model.embeddings.tok_embeddings.weight"]
    assert torch.equal(model.family.word_embeddings[:fewer], table)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tie_word_embeddings": False}, r"output embedding of its own; accepted .* tie it"),
        ({"norm_bias": True}, r"has the norm_bias True; accepted: false"),
        ({"mlp_bias": True}, r"has the mlp_bias True; accepted: false"),
        ({"classifier_activation": "silu"}, r"classifier_activation 'silu'; accepted: 'gelu'"),
        (
            {"layer_types": ["sliding_attention"] * 3 + ["full_attention"]},
            r"layer_types .*; accepted: one of so many layers 'full_attention'",
        ),
        ({"layer_types": ["full_attention"] * 3}, r"cannot be loaded: .*layer_type"),
        ({"layer_types": ["causal"] * 4}, r"cannot be loaded: "),
        ({"local_attention": 10**9}, r"local_attention 1000000000; accepted are 0 to"),
        ({"local_attention": 0}, r"local_attention 0; accepted: 2 or more"),
        ({"hidden_size": 10**7}, r"hidden_size 10000000; accepted are 0 to"),
        ({"global_rope_theta": -1.0, "rope_parameters": None}, r"rope_theta .* -1.0"),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 2.0}}},
            r"rope_type of full_attention 'yarn'; accepted: default|cannot be loaded",
        ),
        ({"rope_parameters": {"full_attention": {"rope_theta": "x"}}}, r"rope_theta|cannot be"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    folder: Path, corpus: Corpus, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    for path in (folder / "model").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        Run(starting(corpus, tmp_path)).new_model()
