"""An export is the trained model itself: stock classes of transformers load it and compute the
same, bit for bit.
"""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    ErnieForMaskedLM,
    ErnieModel,
    pipeline,
)

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.export.fill_mask import fill_mask
from ernie_cmtl.head_kinds.vocabulary import VocabularyHead
from ernie_cmtl.model.families.ernie import Ernie
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.records import Batch
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.run.open import open_run
from ernie_cmtl.run.run import Run
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import tiny_settings

SENTENCE = "The function returns a list of strings."
TASKS = {"knowledge_masking": 0, "capitalization": 1, "sentence_reordering": 2}
ROW = 64


@pytest.fixture(scope="module")
def run_folder(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose learning rate is so high that 12 steps leave their mark on every
    weight.
    """
    folder = tmp_path_factory.mktemp("trained") / "run"
    settings = tiny_settings(english, folder)
    settings["optimizer"] |= {"learning_rate": 0.02}
    assert pretrain(RunConfig.model_validate(settings), Observer())["steps"] == 12
    return folder


@pytest.fixture(scope="module")
def report(run_folder: Path) -> dict[str, Any]:
    return export_run(run_folder, run_folder.parent / "export", None)


@pytest.fixture(scope="module")
def exported(report: dict[str, Any]) -> Path:
    return Path(report["path"])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def task_table(model: MultiTaskModel) -> Tensor:
    rows = [
        value
        for name, value in model.encoder.named_parameters()
        if name.startswith("embeddings.task_type_embeddings")
    ]
    return torch.stack(rows).detach()


def filled_by_hand(model: MultiTaskModel, config: Any) -> ErnieForMaskedLM:
    """Return the stock class with each trained weight put to where BERT's layout has it."""
    stock = ErnieForMaskedLM(config)
    state = {f"ernie.{name}": value for name, value in model.encoder.state_dict().items()}
    state = {
        name: value
        for name, value in state.items()
        if "task_type" not in name and "pooler" not in name
    }
    state["ernie.embeddings.task_type_embeddings.weight"] = task_table(model)
    state |= {
        f"cls.predictions.{name}": value
        for name, value in model.heads["masked_token"].state_dict().items()
    }
    state["cls.predictions.decoder.weight"] = model.encoder.embeddings.word_embeddings.weight
    state["cls.predictions.decoder.bias"] = model.heads["masked_token"].bias
    missing, unexpected = stock.load_state_dict(state, strict=False)
    assert unexpected == []
    assert set(missing) <= {"ernie.embeddings.position_ids", "ernie.embeddings.token_type_ids"}
    return stock.train(False)


def packed_scores(model: MultiTaskModel, token_ids: list[int], row: int) -> Tensor:
    """Return what the training model scores for a sentence that stands in the middle of a packed
    row.
    """
    other = token_ids[::-1]
    lengths = np.array([len(other), len(token_ids), len(other)])
    places = np.zeros((1, ROW), dtype=np.int64)
    places[0, : lengths.sum()] = np.concatenate([np.arange(length) for length in lengths])
    ids = np.zeros((1, ROW), dtype=np.int64)
    ids[0, : lengths.sum()] = other + token_ids + other
    starts = np.cumsum(lengths) - lengths
    batch = Batch(ids, np.zeros_like(ids), np.full_like(ids, row), places, starts, lengths, {})
    with torch.no_grad():
        scores = model.masked_token_scores(TensorBatch.of(batch, torch.device("cpu")))
    return scores[len(other) : len(other) + len(token_ids)]


def test_a_run_starts_from_an_export_with_nothing_to_warn_of(
    exported: Path,
    trained: MultiTaskModel,
    english: Corpus,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = tiny_settings(english, tmp_path / "run") | {"encoder": {"init_from": str(exported)}}
    started = Run(RunConfig.model_validate(settings)).new_model()
    assert not caplog.messages
    expected = trained.state_dict()
    assert all(
        torch.equal(value, expected[name])
        for name, value in started.heads.state_dict(prefix="heads.").items()
        if "masked_token" in name
    )
    assert all(
        torch.equal(value, expected[f"encoder.{name}"])
        for name, value in started.encoder.state_dict().items()
    )


def test_stock_classes_find_every_weight_that_they_look_for(exported: Path) -> None:
    masked, about_masked = AutoModelForMaskedLM.from_pretrained(exported, output_loading_info=True)
    encoder, about_encoder = AutoModel.from_pretrained(exported, output_loading_info=True)
    assert (type(masked), type(encoder)) == (ErnieForMaskedLM, ErnieModel)
    for about in (about_masked, about_encoder):
        assert not about["missing_keys"]
        assert not about["mismatched_keys"]
    assert {key.split(".")[1] for key in about_masked["unexpected_keys"]} == {"pooler"}
    assert {key.split(".")[0] for key in about_encoder["unexpected_keys"]} == {"cls"}


def test_logits_are_bit_for_bit_those_of_the_trained_weights(
    exported: Path, trained: MultiTaskModel
) -> None:
    loaded = AutoModelForMaskedLM.from_pretrained(exported).train(False)
    expected = filled_by_hand(trained, AutoConfig.from_pretrained(exported))
    generator = torch.Generator().manual_seed(1)
    token_ids = torch.randint(0, trained.encoder.config.vocab_size, (3, ROW), generator=generator)
    segments = torch.randint(0, 4, (3, ROW), generator=generator)
    for row in (*TASKS.values(), 31):
        inputs = {
            "input_ids": token_ids,
            "token_type_ids": segments,
            "task_type_ids": torch.full_like(token_ids, row),
        }
        with torch.no_grad():
            assert torch.equal(loaded(**inputs).logits, expected(**inputs).logits)


def test_the_pooler_is_the_trained_one(
    exported: Path, trained: MultiTaskModel, run_folder: Path
) -> None:
    untrained = open_run(run_folder)[0].new_model()
    pooler = AutoModel.from_pretrained(exported).pooler.dense
    assert torch.equal(pooler.weight, trained.encoder.pooler.dense.weight)
    assert torch.equal(pooler.bias, trained.encoder.pooler.dense.bias)
    assert not torch.allclose(pooler.weight, untrained.encoder.pooler.dense.weight, atol=1e-3)


@pytest.mark.parametrize("row", TASKS.values())
def test_a_plain_sentence_scores_as_it_did_in_packed_training(
    exported: Path, trained: MultiTaskModel, row: int
) -> None:
    tokenizer, model = (
        AutoTokenizer.from_pretrained(exported),
        AutoModelForMaskedLM.from_pretrained(exported).train(False),
    )
    inputs = tokenizer(SENTENCE, return_tensors="pt")
    with torch.no_grad():
        task_ids = torch.full_like(inputs["input_ids"], row)
        found = model(**inputs, task_type_ids=task_ids).logits[0]
        without_task = model(**inputs, task_type_ids=torch.full_like(task_ids, 31)).logits[0]
    expected = packed_scores(trained, inputs["input_ids"][0].tolist(), row)
    assert float((found - expected).abs().max()) < 1e-4
    assert float((found - without_task).abs().max()) > 1e-3


def test_the_report_says_where_the_export_is_and_that_nothing_differs(
    report: dict[str, Any], run_folder: Path
) -> None:
    assert report == {
        "path": str(run_folder.parent / "export"),
        "format": "hf",
        "max_abs_logit_difference": 0.0,
        "max_abs_log_probability_difference": pytest.approx(0, abs=1e-5),
        "max_abs_hidden_state_difference": pytest.approx(0, abs=1e-5),
    }


def test_the_tokenizer_comes_along(exported: Path, english: Corpus) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported)
    assert tokenizer.get_vocab() == english.tokenizer.get_vocab()
    assert tokenizer.model_max_length == ROW
    ids = tokenizer(SENTENCE)["input_ids"]
    assert ids == english.tokenizer(SENTENCE)["input_ids"]
    assert (ids[0], ids[-1]) == (english.vocabulary.cls_id, english.vocabulary.sep_id)
    assert tokenizer.decode(ids, skip_special_tokens=True) == SENTENCE.lower()
    assert len(tokenizer(SENTENCE * 50, truncation=True)["input_ids"]) == ROW


def test_the_config_is_a_plain_ernie_that_knows_its_tasks(exported: Path) -> None:
    written = json.loads((exported / "config.json").read_text(encoding="utf-8"))
    assert (written["model_type"], written["architectures"]) == ("ernie", ["ErnieForMaskedLM"])
    assert (
        written["use_task_id"],
        written["task_type_vocab_size"],
        written["type_vocab_size"],
    ) == (True, 32, 4)
    assert "auto_map" not in written
    assert "packed" not in json.dumps(written)


def test_the_fill_mask_pipeline_works(exported: Path) -> None:
    best = pipeline("fill-mask", model=str(exported))("the [MASK] returns a list .", top_k=3)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(exported),
        AutoModelForMaskedLM.from_pretrained(exported),
    )
    inputs = tokenizer("the [MASK] returns a list .", return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits[0, 2].softmax(-1).topk(3)
    assert [answer["token"] for answer in best] == expected.indices.tolist()
    assert [answer["score"] for answer in best] == pytest.approx(expected.values.tolist(), abs=1e-6)
    shown = fill_mask(str(exported), "the {} returns a list .", 3)
    assert [token for token, _ in shown] == [answer["token_str"] for answer in best]
    assert [score for _, score in shown] == pytest.approx(expected.values.tolist(), abs=1e-6)


def test_the_task_heads_stand_beside_the_model_with_their_names(
    exported: Path, trained: MultiTaskModel
) -> None:
    about = json.loads((exported / "pretraining.json").read_text(encoding="utf-8"))
    assert about["tasks"] == TASKS
    assert (about["steps"], about["stages"]) == (12, ["first", "second"])
    kinds = {name: head["kind"] for name, head in about["heads"].items()}
    assert kinds == {
        "knowledge_masking/masked_token": "vocabulary",
        "capitalization/capital": "token_class",
        "sentence_reordering/order": "sequence_class",
    }
    assert about["heads"]["capitalization/capital"]["classes"] == ["lower", "capital"]
    assert len(about["heads"]["sentence_reordering/order"]["classes"]) == 9
    heads = load_file(exported / "pretraining_heads.safetensors")
    assert set(heads) == {
        f"{name}.dense.{part}" for name in list(kinds)[1:] for part in ("weight", "bias")
    }
    for name in list(kinds)[1:]:
        assert torch.equal(heads[f"{name}.dense.weight"], trained.heads[name].dense.weight)


def test_the_card_names_each_task_its_row_and_its_held_out_loss(exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    losses = json.loads((exported / "pretraining.json").read_text(encoding="utf-8"))["losses"]
    for task, row in TASKS.items():
        (line,) = (line for line in card.splitlines() if line.startswith(f"| {row} | {task} |"))
        (head,) = (name for name in losses if name.startswith(f"{task}/"))
        assert f"{head}: {losses[head]:.3f}" in line


def test_the_card_says_which_row_a_program_gets_that_names_no_task(exported: Path) -> None:
    """Pipelines and sentence-transformers pass what the tokenizer gives, without a task."""
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "sentence-transformers, gets row 0,\n`knowledge_masking`. To give it another" in card
    model = AutoModel.from_pretrained(exported).train(False)
    inputs = AutoTokenizer.from_pretrained(exported)(SENTENCE, return_tensors="pt")

    def states(**task: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.as_tensor(model(**inputs, **task).last_hidden_state)

    of_row = {
        row: states(task_type_ids=torch.full_like(inputs["input_ids"], row)) for row in (0, 2)
    }
    assert torch.equal(states(), of_row[0])
    assert not torch.equal(states(), of_row[2])
    (recipe,) = re.findall(r"```python\n(rows = .*?)```", card, re.DOTALL)
    exec(recipe, {"model": model, "task": 2})
    assert torch.equal(states(), of_row[2])


def test_nothing_in_the_export_is_a_pickle(exported: Path) -> None:
    found = {path.suffix for path in exported.rglob("*") if path.is_file()}
    assert found <= {".json", ".safetensors", ".md", ".txt", ""}
    assert [path.name for path in exported.rglob("*") if not path.suffix] == ["SHA256SUMS"]
    assert not [
        name
        for name, data in contents(exported).items()
        if data[:2] in (b"PK", b"\x80\x02", b"\x80\x04")
    ]


def test_a_folder_with_other_files_is_refused_and_left_alone(
    run_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(
        UserError,
        match="thesis "
        "is not empty and no earlier export: it has no SHA256SUMS; choose another --output",
    ):
        export_run(run_folder, tmp_path / "thesis", None)
    assert contents(tmp_path) == {"thesis/chapter.txt": b"years of work"}


def test_an_output_that_is_a_file_is_an_error_of_the_user(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(UserError, match="notes"):
        export_run(run_folder, tmp_path / "notes.txt", None)
    assert contents(tmp_path) == {"notes.txt": b"keep"}


def test_exporting_again_replaces_the_first_export(run_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "model"
    export_run(run_folder, output, 8)
    earlier = contents(output)
    (output / "notes.txt").write_text("a person's", encoding="utf-8")
    export_run(run_folder, output, 12)
    later = contents(output)
    assert set(later) == {*earlier, "notes.txt"}
    assert later["notes.txt"] == b"a person's"
    assert later["model.safetensors"] != earlier["model.safetensors"]
    assert json.loads(earlier["pretraining.json"])["steps"] == 8
    assert json.loads(later["pretraining.json"])["steps"] == 12
    assert [path.name for path in output.parent.iterdir()] == ["model"]


def test_the_sums_of_an_export_are_those_of_its_files(exported: Path) -> None:
    found = dict(
        reversed(line.split("  ")) for line in (exported / "SHA256SUMS").read_text().splitlines()
    )
    assert found == {
        name: sha256(data).hexdigest()
        for name, data in contents(exported).items()
        if name != "SHA256SUMS"
    }


def test_an_export_to_the_working_directory_has_its_name(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path / "model")
    export_run(run_folder, Path(), 8)
    assert "# model" in (tmp_path / "model" / "README.md").read_text()
    assert AutoModel.from_pretrained(tmp_path / "model").config.num_hidden_layers == 2


def test_an_export_that_fails_its_check_leaves_the_earlier_one_in_place(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "model"
    export_run(run_folder, output, 8)
    before = contents(output)
    stock_state = Ernie.stock_state

    def without_a_layer(family: Ernie, head: VocabularyHead, task_row: int) -> dict[str, Tensor]:
        return {
            name: value
            for name, value in stock_state(family, head, task_row).items()
            if "layer.1.output" not in name
        }

    with monkeypatch.context() as patch:
        patch.setattr(Ernie, "stock_state", without_a_layer)
        with pytest.raises(RuntimeError, match=r"lacks weights: .*layer\.1\.output"):
            export_run(run_folder, output, 12)
    assert contents(output) == before


def test_a_step_without_a_checkpoint_is_refused_with_those_there_are(
    run_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no checkpoint at step 5; it has 8, 12"):
        export_run(run_folder, tmp_path / "model", 5)
    assert not (tmp_path / "model").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run folder"):
        export_run(tmp_path, tmp_path / "model", None)


@pytest.fixture
def fresh_precision() -> Iterator[None]:
    """Let a test choose the precision of its process anew, and the tests after it too."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_run_in_bf16_can_be_exported_by_the_process_that_trained_it(
    english: Corpus, tmp_path: Path, fresh_precision: None
) -> None:
    settings = tiny_settings(english, tmp_path / "run")
    settings["training"] |= {"precision": "bf16"}
    settings["stages"] = [{"name": "only", "budgets": {"knowledge_masking": 1}}]
    pretrain(RunConfig.model_validate(settings), Observer())
    assert export_run(tmp_path / "run", tmp_path / "model", None)["max_abs_logit_difference"] == 0.0
