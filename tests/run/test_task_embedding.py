"""The task embedding: as it is by default, taken away, and shuffled so that it tells nothing."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForMaskedLM

from ernie_cmtl.config import RunConfig, load_run_config
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.loader import fixed_batches
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.export.writer import write_export
from ernie_cmtl.model.encoder import build_encoder
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.records import MASKED_TOKEN, Batch, BatchTargets, Ledger, StepData, Vocabulary
from ernie_cmtl.run.open import open_run
from ernie_cmtl.run.run import Run
from ernie_cmtl.scheduling.stages import Stage, StageTable
from ernie_cmtl.settings import dump
from ernie_cmtl.task import MASKED_TOKEN_HEAD
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.optimizer import OptimizerConfig
from ernie_cmtl.training.trainer import Trainer
from ernie_cmtl.verbs.evaluate import evaluate_run
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.plan import plan as describe_plan
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.command_line import mistake, squeezed
from tests.support.instances import make_instances
from tests.support.models import (
    largest_difference,
    packed,
    sentences,
    shake,
    start_from,
    vocabulary_scores,
)
from tests.support.runs import Watcher, make_run, tiny_settings, with_training

ENCODER: dict[str, Any] = {
    "layers": 2,
    "hidden_size": 32,
    "attention_heads": 2,
    "maximum_positions": 64,
}


def config_with(corpus: Corpus, folder: Path, use: str, **settings: Any) -> RunConfig:
    encoder = {"encoder": ENCODER | {"task_embedding": use}}
    return RunConfig.model_validate(tiny_settings(corpus, folder / "run") | encoder | settings)


def run_with(corpus: Corpus, use: str, **settings: Any) -> Run:
    return Run(config_with(corpus, Path("unused"), use, **settings))


@pytest.mark.parametrize(
    ("written", "meant"),
    [("on", "on"), ("true", "on"), ("off", "off"), ("false", "off"), ("'off'", "off")],
)
def test_on_and_off_may_be_the_booleans_that_yaml_makes_of_them(
    english: Corpus, tmp_path: Path, written: str, meant: str
) -> None:
    path = tmp_path / "run.yaml"
    text = yaml.safe_dump(tiny_settings(english, tmp_path))
    path.write_text(text.replace("encoder:\n", f"encoder:\n  task_embedding: {written}\n"))
    assert load_run_config(path).encoder.task_embedding == meant
    assert (
        load_run_config(path, ["encoder.task_embedding=shuffled"]).encoder.task_embedding
        == "shuffled"
    )
    assert (
        load_run_config(path, [f"encoder.task_embedding={written}"]).encoder.task_embedding == meant
    )


@pytest.mark.parametrize("value", ["none", "1"])
def test_another_value_is_refused_with_the_accepted_ones(
    english: Corpus, tmp_path: Path, value: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tiny_settings(english, tmp_path)))
    with pytest.raises(
        UserError, match=rf"encoder.task_embedding: .*'on', 'off' or 'shuffled' \(got '?{value}'?\)"
    ):
        load_run_config(path, [f"encoder.task_embedding={value}"])


def test_the_losses_of_a_few_steps_are_those_of_before_the_setting() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    sizes = EncoderConfig(
        layers=1, hidden_size=16, attention_heads=2, maximum_positions=16, dropout=0.0
    )
    encoder = build_encoder(sizes, Vocabulary(30, 1, 2, 0, 3, nothing.astype(bool), nothing), 1)
    model = MultiTaskModel(encoder, {MASKED_TOKEN: MASKED_TOKEN_HEAD}, ["a", "b"], 1)
    instances = [replace(instance, row=row) for row, instance in enumerate(make_instances()[:2])]
    optimizer = OptimizerConfig(learning_rate=0.01, warmup_steps=0)
    table = StageTable([Stage(name="all", budgets={"first": 2, "second": 1})])
    trainer = Trainer(model, instances, optimizer, Workers("fp32"), table, 1)
    token_ids = (np.arange(32) * 7 % 27 + 3).reshape(2, 16)
    task_rows = np.repeat([[0] * 9 + [1] * 7], 2, 0)
    positions = np.repeat([[*range(9), *range(7)]], 2, 0)
    targets = BatchTargets(
        np.array([2, 11, 20, 27]), np.array([5, 9, 6, 4]), np.array([0, 1, 0, 1])
    )
    starts, lengths = np.array([0, 9, 16, 25]), np.array([9, 7, 9, 7])
    batch = Batch(
        token_ids,
        np.zeros_like(token_ids),
        task_rows,
        positions,
        starts,
        lengths,
        {MASKED_TOKEN: targets},
    )
    losses = []
    for step in range(3):
        data = StepData(
            step,
            (0.5, 0.5),
            (batch,),
            Ledger(step + 1, (0, 0), (0, 0), (0.0, 0.0), (0.0, 0.0)),
            32,
            32,
        )
        losses.append(float(trainer.step(data).loss))
    assert losses == pytest.approx([3.3765979, 3.1216495, 2.9447634], rel=1e-4)


@pytest.mark.parametrize("use", ["off", "shuffled"])
def test_other_weights_start_as_they_do_with_the_embedding(english: Corpus, use: str) -> None:
    with_it, found = (run_with(english, name).new_model().state_dict() for name in ("on", use))
    expected = {
        name: value
        for name, value in with_it.items()
        if use == "shuffled" or "task_type" not in name
    }
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_without_the_embedding_a_run_trains_evaluates_and_exports(
    english: Corpus, tmp_path: Path
) -> None:
    trained = pretrain(config_with(english, tmp_path, "off"), Watcher())
    assert trained["finished"]
    assert evaluate_run(tmp_path / "run", None)["heldout"] == trained["heldout"]
    assert export_run(tmp_path / "run", tmp_path / "model", None)["max_abs_logit_difference"] == 0
    written = json.loads((tmp_path / "model" / "config.json").read_text())
    assert written["use_task_id"] is False
    assert "task_type_ids" not in (tmp_path / "model" / "README.md").read_text()
    assert (
        json.loads((tmp_path / "model" / "pretraining.json").read_text())["task_embedding"] == "off"
    )

    model = open_run(tmp_path / "run")[1]
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path / "model").train(False)
    assert not [name for name in loaded.state_dict() if "task_type" in name]
    with torch.no_grad():
        expected = [loaded(input_ids=torch.tensor([row])).logits[0] for row in sentences(english)]
    for task in (0, 2):
        assert largest_difference(vocabulary_scores(model, english, task), expected) < 1e-4


def test_without_the_embedding_a_start_from_an_export_computes_what_it_does_by_default(
    english: Corpus, tmp_path: Path
) -> None:
    """transformers takes row 0 where nobody says which."""
    run = make_run(english)
    model = run.new_model()
    shake(model)
    about = {"steps": 1, "stages": [], "tasks": {}, "losses": {}, "losses_at_step": None}
    write_export("hf", TrainedModel(model, run.corpus.tokenizer, 0, about), tmp_path / "export")
    config = start_from(english, tmp_path / "export").config
    encoder = config.encoder.model_copy(update={"task_embedding": "off"})
    started = Run(config.model_copy(update={"encoder": encoder})).new_model()
    for segment in range(4):
        expected = vocabulary_scores(model, english, 0, segment)
        assert largest_difference(vocabulary_scores(started, english, 0, segment), expected) < 1e-4


def drawn_rows(stream: SampleStream, samples: int = 6000) -> list[int]:
    return [stream.task_row(number) for number in range(samples)]


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_shuffled_rows_are_uniform_and_tell_nothing_of_the_task(
    english: Corpus, split: Any
) -> None:
    streams = run_with(english, "shuffled").streams(split)
    drawn = [drawn_rows(stream) for stream in streams]
    for rows in drawn:
        counts = Counter(rows)
        assert set(counts) == {0, 1, 2}
        # Five standard deviations of a share of a third.
        assert all(
            abs(count / len(rows) - 1 / 3) < 5 * (2 / 9 / len(rows)) ** 0.5
            for count in counts.values()
        )
    # Tasks draw apart from one another, and so do neighbours.
    for one, other in [(drawn[0], drawn[1]), (drawn[1], drawn[2]), (drawn[0][1:], drawn[0][:-1])]:
        same = sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
        assert abs(same - 1 / 3) < 5 * (2 / 9 / len(one)) ** 0.5


def test_shuffled_rows_follow_from_seed_task_and_sample_alone(english: Corpus) -> None:
    first, again = (run_with(english, "shuffled").streams("train")[1] for _ in range(2))
    backwards = [again.task_row(number) for number in reversed(range(200))]
    again.example(7)
    assert drawn_rows(first, 200) == backwards[::-1] == drawn_rows(again, 200)
    other = run_with(english, "shuffled", seed=2)
    assert drawn_rows(other.streams("train")[1], 200) != backwards[::-1]
    # Held-out samples are the same for every run.
    held, held_of_other = (
        run.streams("heldout")[1] for run in (run_with(english, "shuffled"), other)
    )
    assert drawn_rows(held, 200) == drawn_rows(held_of_other, 200)


def test_shuffled_batches_carry_the_rows_whatever_the_number_of_workers(english: Corpus) -> None:
    run = run_with(english, "shuffled", tasks={"knowledge_masking": {"maximum_length": 20}})
    plain = run_with(english, "on", tasks={"knowledge_masking": {"maximum_length": 20}})
    alone = list(run.steps_from(run.first_ledger(), 12, 0, 1))
    pairs = [list(run.steps_from(run.first_ledger(), 12, rank, 2)) for rank in range(2)]
    for step, (first, second) in zip(alone, zip(*pairs, strict=True), strict=True):
        together = [
            group for both in zip(first.groups, second.groups, strict=True) for group in both
        ]
        assert [group.task_type_ids.tolist() for group in step.groups] == [
            group.task_type_ids.tolist() for group in together
        ]
    # Only knowledge masking is in the first stage, and its samples get the rows of all three tasks.
    seen = {
        int(row)
        for step in alone[:5]
        for group in step.groups
        for row in np.unique(group.task_type_ids)
    }
    assert seen == {0, 1, 2}
    for step, other in zip(alone, plain.steps_from(plain.first_ledger(), 12, 0, 1), strict=True):
        assert all(
            np.array_equal(a.token_ids, b.token_ids)
            for a, b in zip(step.groups, other.groups, strict=True)
        )


def test_held_out_samples_get_shuffled_rows_too(english: Corpus) -> None:
    stream = run_with(
        english, "shuffled", tasks={"knowledge_masking": {"maximum_length": 20}}
    ).streams("heldout")[0]
    config, pad_id = run_with(english, "shuffled").config.data, english.vocabulary.pad_id
    batches = [batch for _, batch in fixed_batches(stream, 60, config, pad_id)]
    starts = [batch.task_type_ids.ravel()[batch.sequence_starts] for batch in batches]
    placed = Counter(np.concatenate(starts).tolist())
    assert placed == Counter(
        stream.task_row(number) for number in range(60) if stream.example(number)
    )
    assert set(placed) == {0, 1, 2}


def test_shuffled_rows_are_trained_whatever_task_is_in_the_step(
    english: Corpus, tmp_path: Path
) -> None:
    stages = [
        {"name": "first", "budgets": {"knowledge_masking": 2}},
        {"name": "second", "budgets": {"capitalization": 1}},
    ]
    pretrain(config_with(english, tmp_path, "shuffled", stages=stages), Watcher(interrupt_at=1))
    run, model, ledger = open_run(tmp_path / "run")
    assert ledger.step == 2
    before, after = (
        {name: value for name, value in found.state_dict().items() if "task_type" in name}
        for found in (run.new_model(), model)
    )
    moved = {
        name.rpartition(".")[2]
        for name, value in after.items()
        if not torch.equal(value, before[name])
    }
    assert moved == {"0", "1"}


def test_a_run_may_not_go_on_with_another_task_embedding(english: Corpus, tmp_path: Path) -> None:
    pretrain(config_with(english, tmp_path, "on"), Watcher(interrupt_at=1))
    with pytest.raises(UserError, match="made with other settings of encoder"):
        pretrain(config_with(english, tmp_path, "shuffled"), Watcher())


def test_the_default_is_the_embedding_of_each_task(english: Corpus) -> None:
    run = make_run(english)
    model = run.new_model()
    shake(model)
    assert [set(drawn_rows(stream, 50)) for stream in run.streams("train")] == [{0}, {1}, {2}]
    with torch.no_grad():
        one, other = (
            model.masked_token_scores(packed(english, sentences(english), task)) for task in (0, 1)
        )
    assert float((one - other).abs().max()) > 0.1


def many_tasks(corpus: Corpus, folder: Path, count: int, use: str = "on") -> RunConfig:
    """A run of many small tasks of one kind, judged after each step."""
    names = [f"words_{number}" for number in range(count)]
    tasks = {name: {"type": "capitalization"} for name in names}
    stages = [{"name": "all", "budgets": dict.fromkeys(names, 1)}]
    config = config_with(corpus, folder, use, tasks=tasks, stages=stages)
    return with_training(config, heldout={"every": 1, "samples": 2})


@pytest.mark.parametrize(("count", "use"), [(32, "on"), (33, "off")])
def test_as_many_tasks_train_as_the_embedding_has_rows(
    english: Corpus, tmp_path: Path, count: int, use: str
) -> None:
    config = many_tasks(english, tmp_path, count, use)
    assert len(pretrain(config, Watcher(interrupt_at=1))["heldout"]) == count


@pytest.mark.parametrize("verb", ["plan", "pretrain", "bench"])
def test_more_tasks_than_rows_are_refused_before_anything_runs(
    english: Corpus, tmp_path: Path, verb: str
) -> None:
    config = many_tasks(english, tmp_path, 33, "shuffled")
    (tmp_path / "run.yaml").write_text(dump(config))
    said = squeezed(
        "33 tasks, and the task embedding has rows for 32: take words_32 out, or set en"
    )
    assert said in mistake(verb, tmp_path / "run.yaml")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_plan_without_a_corpus_refuses_them_too(english: Corpus, tmp_path: Path) -> None:
    config = many_tasks(english, tmp_path, 34).model_copy(update={"corpus": tmp_path / "none"})
    with pytest.raises(UserError, match="take words_32, words_33 out"):
        describe_plan(config, 1, 1, None, None)
