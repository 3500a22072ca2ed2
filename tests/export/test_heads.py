"""A head that pretraining trained leaves as the class of transformers that scores the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    pipeline,
)

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Batch
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.run.open import open_run
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.batches import batch_of
from tests.support.runs import tiny_settings

CPU = torch.device("cpu")
TOKENS, SEQUENCE, CHOICE, NUMBER = (
    "capitalization/capital",
    "sentence_reordering/order",
    "quick_thoughts/following",
    "term_frequency/term_frequency",
)
SHARING: dict[str, dict[str, Any]] = {
    "hard": {},
    "levels": {
        "sharing": {
            "mode": "hierarchical",
            "levels": {"capitalization": 1, "sentence_reordering": 1},
        }
    },
    "branches": {"sharing": {"mode": "partial", "layers": 1, "groups": "task"}},
    "fed": {"sharing": {"mode": "hierarchical", "levels": {"capitalization": 1}, "feed": True}},
}


@pytest.fixture(scope="module")
def runs(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs by sharing and positions, or the name of a family that has one kind of them; made once
    one is asked for.
    """
    made: dict[str, Path] = {}

    class Made(dict[str, Path]):
        def __missing__(self, key: str) -> Path:
            sharing, positions = key.split()
            settings = tiny_settings(english, tmp_path_factory.mktemp("heads") / "run")
            names = ("knowledge_masking", *(n.partition("/")[0] for n in (TOKENS, SEQUENCE)))
            settings["stages"] = [{"name": "all", "budgets": dict.fromkeys(names, 2)}]
            if sharing == "hard":
                settings["stages"][0]["budgets"] |= {"quick_thoughts": 1, "term_frequency": 1}
            own = (
                {"architecture": "modernbert"}
                if positions == "modernbert"
                else {"positions": positions}
            )
            settings["encoder"] |= own | {"dropout": 0.0}
            settings["optimizer"]["learning_rate"] = 2e-2
            config = RunConfig.model_validate(settings | SHARING[sharing])
            pretrain(config, Observer())
            self[key] = config.run
            return config.run

    return Made(made)


def scores_of_run(run: Path, head: str) -> tuple[torch.Tensor, Batch]:
    """What the run scores at the labelled places of a held-out sample of a head's task."""
    opened, model, _ = open_run(run)
    task = head.partition("/")[0]
    number = [instance.name for instance in opened.instances].index(task)
    batch = batch_of(opened, [[(number, sample)] for sample in range(3)], split="heldout")
    with torch.no_grad():
        return model.eval().head_scores(model.on_device(batch, CPU), head), batch


def sequence_inputs(batch: Batch, number: int) -> dict[str, torch.Tensor]:
    part = slice(
        batch.sequence_starts[number],
        batch.sequence_starts[number] + batch.sequence_lengths[number],
    )
    return {
        "input_ids": torch.from_numpy(batch.token_ids.flatten()[part])[None],
        "token_type_ids": torch.from_numpy(batch.token_type_ids.flatten()[part])[None],
    }


@torch.no_grad()
def scores_of_export(loaded: Any, batch: Batch, head: str) -> torch.Tensor:
    starts = batch.sequence_starts.tolist()
    places = batch.targets[head].positions
    logits = [loaded(**sequence_inputs(batch, number)).logits for number in range(len(starts))]
    if head == TOKENS:
        found = torch.zeros(batch.token_ids.size, logits[0].shape[-1])
        for start, scores in zip(starts, logits, strict=True):
            found[start : start + scores.shape[1]] = scores[0]
        return found[places]
    return torch.cat([logits[starts.index(place)] for place in places.flatten().tolist()])


@pytest.mark.parametrize(
    "key",
    [
        "hard rotary",
        "levels learned",
        "hard modernbert",
        *(
            pytest.param(key, marks=pytest.mark.slow)
            for key in (
                "levels modernbert",
                "branches modernbert",
                "hard learned",
                "levels rotary",
                "branches learned",
                "branches rotary",
            )
        ),
    ],
)
@pytest.mark.parametrize("head", [TOKENS, SEQUENCE])
def test_an_exported_head_scores_what_the_run_scores(
    runs: dict[str, Path], tmp_path: Path, key: str, head: str
) -> None:
    if (head, key.split()[1]) == (TOKENS, "modernbert"):
        with pytest.raises(UserError, match=r"ModernBertForTokenClassification has a dense layer"):
            export_run(runs[key], tmp_path / "model", None, head=head)
        return
    result = export_run(runs[key], tmp_path / "model", None, head=head)
    assert result["max_abs_logit_difference"] < 1e-5
    auto = AutoModelForTokenClassification if head == TOKENS else AutoModelForSequenceClassification
    loaded, about = auto.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not about["missing_keys"]
    assert not about["unexpected_keys"]
    assert loaded.config.num_hidden_layers == (1 if key.startswith("levels") else 2)
    expected, batch = scores_of_run(runs[key], head)
    found = scores_of_export(loaded.eval(), batch, head)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    written = json.loads((tmp_path / "model" / "pretraining.json").read_text(encoding="utf-8"))
    assert written["exported_head"] == head
    assert written["folded_row"] == written["tasks"][head.partition("/")[0]]


def test_classes_have_their_names_and_the_pipeline_says_them(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    export_run(runs["levels learned"], tmp_path / "model", None, "bert", head=TOKENS)
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertForTokenClassification"]
    assert config["id2label"] == {"0": "lower", "1": "capital"}
    found = pipeline("token-classification", model=str(tmp_path / "model"))("the list of paris")
    assert {answer["entity"] for answer in found} <= {"lower", "capital"}
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: token-classification" in card
    assert "`capitalization/capital` as pretraining left it (lower, capital)" in card
    assert "the layers up to 1" in card


def test_a_choice_leaves_as_multiple_choice_where_the_encoder_has_such_a_class(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    export_run(runs["hard learned"], tmp_path / "model", None, head=CHOICE)
    loaded = AutoModelForMultipleChoice.from_pretrained(tmp_path / "model").eval()
    expected, batch = scores_of_run(runs["hard learned"], CHOICE)
    members = [
        [batch.sequence_starts.tolist().index(place) for place in places]
        for places in batch.targets[CHOICE].positions.tolist()
    ]
    for scores, sequences in zip(expected, members, strict=True):
        each = [sequence_inputs(batch, number) for number in sequences]
        with torch.no_grad():
            found = [
                loaded(**{name: value[None] for name, value in inputs.items()}).logits
                for inputs in each
            ]
        torch.testing.assert_close(torch.cat(found)[:, 0], scores, atol=1e-4, rtol=0)
    with pytest.raises(UserError, match="has no AutoModelForMultipleChoice for 'jina_embeddings"):
        export_run(runs["hard rotary"], tmp_path / "other", None, head=CHOICE)


def test_a_number_for_a_sequence_leaves_as_a_class_with_one_label(
    judged: Corpus, tmp_path: Path
) -> None:
    settings = tiny_settings(judged, tmp_path / "run")
    settings["stages"] = [{"name": "all", "budgets": {"stsb": 2}}]
    settings["tasks"] = {"stsb": {"type": "supervised", "table": "stsb", "label": "score"}}
    pretrain(RunConfig.model_validate(settings), Observer())
    export_run(tmp_path / "run", tmp_path / "model", None, head="stsb/label")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    assert (loaded.config.num_labels, loaded.config.problem_type) == (1, "regression")
    expected, batch = scores_of_run(tmp_path / "run", "stsb/label")
    found = scores_of_export(loaded, batch, "stsb/label")
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("key", "options", "message"),
    [
        ("hard rotary", {"head": "speech/kind"}, "no head 'speech/kind'; it has .*capitalization"),
        ("hard rotary", {"head": "capitalization/capitals"}, "did you mean 'capitalization/capit"),
        ("hard rotary", {"head": NUMBER}, "'token_regression', which no class .*token_class"),
        (
            "hard rotary",
            {"head": "knowledge_masking/masked_token"},
            r"plain export has the head for masked tokens .*leave --head out",
        ),
        ("hard rotary", {"head": TOKENS, "task": "capitalization"}, "leave --task and --view out"),
        ("fed learned", {"head": SEQUENCE}, "is fed what lower tasks predict"),
    ],
)
def test_a_head_that_cannot_leave_is_refused_with_the_reason(
    runs: dict[str, Path], tmp_path: Path, key: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        export_run(runs[key], tmp_path / "model", None, **options)
    assert not (tmp_path / "model").exists()
