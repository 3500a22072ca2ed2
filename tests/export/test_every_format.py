"""Each format loads where ernie_cmtl is not installed, and computes what the run does."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.export.formats import onnx, sentence_transformers
from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.export.writer import EXPORT_FORMATS, open_format
from ernie_cmtl.head_kinds import HEAD_KINDS, head_kind
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.run.open import open_run
from ernie_cmtl.verbs.evaluate import Measures, evaluate
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.checkpoints import files_at_most
from tests.support.command_line import call, mistake
from tests.support.models import packed
from tests.support.runs import tiny_settings

SENTENCES = [
    "The function returns a list of strings.",
    "A list.",
    "Keys of the mapping are sorted.",
]
PAIRS = [
    ("A list is sorted.", "A list is sorted again.", 4.5),
    ("The file is read.", "Nobody wrote the manual.", 0.5),
    ("He said no.", "She said no.", 4.0),
    ("A string of digits.", "A string.", 2.5),
    ("Sort the keys of the mapping.", "The keys are sorted.", 3.5),
]
PAGE = Path(__file__).parents[2] / "docs" / "export.md"
FORMATS = ("hf", "bert", "sentence-transformers", "onnx")
LIBRARIES = {
    "sentence-transformers": ("sentence_transformers",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
}


def needed(name: str) -> None:
    for library in LIBRARIES.get(name, ()):
        pytest.importorskip(library)


def make_run(corpus: Corpus, folder: Path, positions: str = "learned") -> Path:
    """A run whose first task masks no tokens, so that the row that is folded is not row 0."""
    settings = tiny_settings(corpus, folder)
    settings["stages"] = [
        {"name": "first", "budgets": {"capitalization": 2}},
        {"name": "second", "budgets": {"capitalization": 2, "knowledge_masking": 3}},
    ]
    settings["encoder"] |= {"positions": positions}
    settings["optimizer"] |= {"learning_rate": 0.02}
    pretrain(RunConfig.model_validate(settings), Observer())
    return folder


@pytest.fixture(scope="module")
def run(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(english, tmp_path_factory.mktemp("formats") / "run")


@pytest.fixture(scope="module")
def exported(run: Path) -> Callable[[str], dict[str, Any]]:
    """Export in a format, once."""
    made: dict[str, dict[str, Any]] = {}
    settings = {"onnx": ["int8=true", "pooling=cls"]}

    def export(name: str) -> dict[str, Any]:
        needed(name)
        if name not in made:
            output = run.parent / name
            made[name] = export_run(run, output, None, name, settings=settings.get(name, ()))
        return made[name]

    return export


@torch.no_grad()
def states_of_run(run: Path, tokens: list[list[int]]) -> list[Tensor]:
    opened, model, _ = open_run(run)
    row = {instance.name: instance.row for instance in opened.instances}["knowledge_masking"]
    batch = packed(opened.corpus, [np.array(one) for one in tokens], row)
    states = model.eval().family.encode(batch, None, False).last[0]
    return list(states[: sum(map(len, tokens))].split([len(one) for one in tokens]))


def test_the_formats_and_options_are_those_of_the_page_on_exports() -> None:
    page = PAGE.read_text(encoding="utf-8")
    names = [name for name in EXPORT_FORMATS.names() if not name.startswith("toy")]
    assert {*names} == {*(name.replace("-", "_") for name in FORMATS)}
    for name in FORMATS:
        assert re.search(rf"^\| `{name}`.* \| .+ \| .+ \|$", page, re.MULTILINE)
        for option in EXPORT_FORMATS.find(name.replace("-", "_")).Options.model_fields:
            assert f"`{option}=" in page
    for kind in HEAD_KINDS.names():
        row = re.search(rf"^\| `{kind}` \| (.+) \|$", page, re.MULTILINE)
        assert kind.startswith("toy") or row
        if row and kind != "sequence_regression":
            assert f"AutoModelFor{head_kind(kind).stock_head}" in row[1] or kind in (
                "vocabulary",
                "token_regression",
            )


def test_the_ten_lines_of_the_page_embed_sentences(
    exported: Callable[[str], dict[str, Any]], run: Path, english: Corpus
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 10
    found: dict[str, Any] = {}
    exec(code.replace("exports/bert", exported("bert")["path"]), found)
    states = states_of_run(run, english.tokenizer(found["sentences"])["input_ids"])
    expected = torch.stack([one.mean(0) for one in states])
    torch.testing.assert_close(found["embeddings"], expected, atol=1e-4, rtol=0)


LOADED_ELSEWHERE = """
import json, sys
sys.modules["ernie_cmtl"] = sys.modules["pretrain_tasks"] = None
import torch
from transformers import AutoModel, AutoTokenizer
torch.set_num_threads(1)
folders, sentences = json.loads(sys.argv[1]), json.loads(sys.argv[2])
found = {}
for name, folder in folders.items():
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(sentences, padding=True, return_tensors="pt")
    inside = inputs["attention_mask"].bool()
    if name == "sentence-transformers":
        from sentence_transformers import SentenceTransformer
        found[name] = SentenceTransformer(folder).encode(sentences).tolist()
        continue
    if name == "onnx":
        from onnxruntime import InferenceSession
        session = InferenceSession(folder + "/onnx/model.onnx")
        arrays = {key: value.numpy() for key, value in inputs.items()}
        states = torch.from_numpy(session.run(None, arrays)[0])
    else:
        rows = {"task_type_ids": torch.full_like(inputs["input_ids"], 1)} if name == "hf" else {}
        with torch.no_grad():
            states = AutoModel.from_pretrained(folder).eval()(**inputs, **rows).last_hidden_state
    found[name] = [one[at].mean(0).tolist() for one, at in zip(states, inside)]
print(json.dumps(found))
"""


def test_every_format_loads_where_ernie_cmtl_is_not_and_gives_the_states_of_the_run(
    exported: Callable[[str], dict[str, Any]], run: Path, english: Corpus, tmp_path: Path
) -> None:
    folders = {name: exported(name)["path"] for name in FORMATS}
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-c", LOADED_ELSEWHERE),
            *(json.dumps(folders), json.dumps(SENTENCES)),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    states = states_of_run(run, english.tokenizer(SENTENCES)["input_ids"])
    expected = torch.stack([one.mean(0) for one in states])
    assert found.keys() == folders.keys()
    for name, vectors in found.items():
        torch.testing.assert_close(
            torch.tensor(vectors), expected, atol=1e-4, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_the_result_says_what_was_measured(exported: Callable[[str], dict[str, Any]]) -> None:
    assert exported("sentence-transformers").keys() == {
        "path",
        "format",
        "pooling",
        "max_abs_embedding_difference",
    }
    found = exported("onnx")
    assert found.keys() == {"path", "format", "max_abs_hidden_state_difference", "int8_cosine"}
    assert found["max_abs_hidden_state_difference"] < 1e-5
    assert found["int8_cosine"] > 0.99
    sizes = [
        (Path(found["path"]) / "onnx" / name).stat().st_size
        for name in ("model_quantized.onnx", "model.onnx")
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("name", ["sentence-transformers", "onnx"])
def test_servers_find_the_pooling_and_the_longest_input(
    exported: Callable[[str], dict[str, Any]], name: str
) -> None:
    """text-embeddings-inference reads these keys."""
    folder = Path(exported(name)["path"])
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    mean = name == "sentence-transformers"
    assert (pooling["pooling_mode_mean_tokens"], pooling["pooling_mode_cls_token"]) == (
        mean,
        not mean,
    )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["model_type"], config["architectures"]) == ("bert", ["BertModel"])
    if mean:
        settings = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))
        assert settings["max_seq_length"] == 64


@pytest.mark.parametrize("name", ["sentence-transformers", "onnx", "bert"])
def test_the_code_of_the_card_runs(
    exported: Callable[[str], dict[str, Any]],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(exported(name)["path"])
    card = (folder / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(folder)
    exec(code, {})
    assert "`knowledge_masking` (row 1" in card


def write_pairs(path: Path) -> Path:
    lines = ["\t".join(map(str, pair)) for pair in PAIRS]
    path.write_text("\n".join(["sentence1\tsentence2\tscore", *lines]), encoding="utf-8")
    return path


def test_the_pooling_is_the_better_one_and_its_number_is_that_of_evaluate(
    run: Path, tmp_path: Path
) -> None:
    needed("sentence-transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.evaluation import (
        EmbeddingSimilarityEvaluator,
    )

    pairs, output = write_pairs(tmp_path / "pairs.tsv"), tmp_path / "model"
    result = export_run(run, output, None, "sentence-transformers", settings=[f"sts={pairs}"])
    scores = result["pooling_spearman"]
    assert result["pooling"] == max(("mean", "cls"), key=lambda name: scores[name])
    about = json.loads((output / "pretraining.json").read_text(encoding="utf-8"))
    assert (about["pooling"], about["pooling_spearman"]) == (result["pooling"], scores)
    card = (output / "README.md").read_text(encoding="utf-8")
    assert "chosen by measured similarity" in card
    assert "type: spearman_cosine" in card
    first, second, numbers = zip(*PAIRS, strict=True)
    judge = EmbeddingSimilarityEvaluator(list(first), list(second), [n / 5 for n in numbers])
    found = judge(SentenceTransformer(str(output), device="cpu"))
    judged = evaluate(str(output), None, None, (), Measures(sts=pairs))["sts"][result["pooling"]]
    assert found["spearman_cosine"] == pytest.approx(judged["spearman"], abs=1e-6)
    assert found["pearson_cosine"] == pytest.approx(judged["pearson"], abs=1e-4)
    assert scores[result["pooling"]] == pytest.approx(judged["spearman"], abs=1e-6)


def test_a_pooling_that_was_asked_for_is_taken_and_its_reason_said(
    run: Path, tmp_path: Path, exported: Callable[[str], dict[str, Any]]
) -> None:
    unmeasured = Path(exported("sentence-transformers")["path"]) / "README.md"
    assert "taken without a measurement (`sts=FILE`" in unmeasured.read_text(encoding="utf-8")
    result = export_run(
        run, tmp_path / "model", None, "sentence-transformers", settings=["pooling=cls"]
    )
    assert result["pooling"] == "cls"
    assert result["max_abs_embedding_difference"] < 1e-5
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "`cls`, as asked for; it was not measured" in card


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sentence-transformers", "onnx"])
@pytest.mark.parametrize("task", ["capitalization", "knowledge_masking"])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_each_view_of_each_encoder_leaves_in_each_format(
    english: Corpus, tmp_path: Path, name: str, task: str, positions: str
) -> None:
    needed(name)
    run = make_run(english, tmp_path / "run", positions)
    found = export_run(run, tmp_path / "model", None, name, task)
    assert max(value for value in found.values() if isinstance(value, float)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("head", ["capitalization/capital", "sentence_reordering/order"])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_a_head_leaves_as_a_graph(
    english: Corpus, tmp_path: Path, head: str, positions: str
) -> None:
    needed("onnx")
    settings = tiny_settings(english, tmp_path / "run")
    settings["encoder"] |= {"positions": positions}
    pretrain(RunConfig.model_validate(settings), Observer())
    found = export_run(tmp_path / "run", tmp_path / "model", None, "onnx", head=head)
    assert found["max_abs_logit_difference"] < 1e-4


@pytest.mark.parametrize(
    ("name", "settings", "options", "message"),
    [
        ("onnx", ["int9=true"], {}, r"unknown key 'int9'; did you mean 'int8'\?"),
        ("onnx", ["int8=perhaps"], {}, r"int8: .*'perhaps'"),
        ("onnx", ["int8"], {}, "not of the form key"),
        ("onnx", ["pooling=cls"], {"head": "capitalization/capital"}, "leave one of them out"),
        ("sentence-transformers", ["pooling=max"], {}, r"pooling: .*'mean' or 'cls'.*'max'"),
        ("sentence-transformers", ["sts=nowhere.tsv"], {}, "nowhere.tsv"),
        (
            "sentence-transformers",
            [],
            {"head": "capitalization/capital"},
            "holds no head of a task; formats for --head: bert, hf, onnx",
        ),
        ("hf", ["int8=true"], {}, "--format hf takes no options, but was given int8=true"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    run: Path,
    tmp_path: Path,
    name: str,
    settings: list[str],
    options: dict[str, Any],
    message: str,
) -> None:
    needed(name)
    with pytest.raises(UserError, match=message):
        export_run(run, tmp_path / "model", None, name, settings=settings, **options)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("name", "library"), [(name, library) for name in LIBRARIES for library in LIBRARIES[name]]
)
def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    loaded = [one for one in sys.modules if one.partition(".")[0] == library]
    for module in {library, *loaded}:
        monkeypatch.setitem(sys.modules, module, None)
    # Before a run is looked at.
    with pytest.raises(UserError, match=rf"pip install 'ernie-cmtl\[export\]' \(.*{library}"):
        export_run(tmp_path / "no run", tmp_path / "model", None, name)


def test_a_quantized_graph_that_is_too_far_off_is_no_export(
    exported: Callable[[str], dict[str, Any]], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(exported("onnx")["path"])
    opened, model, _ = open_run(run)
    trained = TrainedModel(model, opened.corpus.tokenizer, 1, {})
    chosen = open_format("onnx", ["int8=true"])
    assert chosen.verify(folder, trained)["int8_cosine"] > 0.99
    monkeypatch.setattr(onnx, "cosine_similarity", lambda *pair, dim: torch.tensor(0.5))
    with pytest.raises(UserError, match=r"int8=true: .*cosine 0.5000.*leave int8 out"):
        chosen.verify(folder, trained)


@pytest.mark.parametrize(
    "name", ["bert", "sentence-transformers", pytest.param("onnx", marks=pytest.mark.slow)]
)
def test_a_full_disk_is_one_message_and_leaves_nothing(
    run: Path, tmp_path: Path, name: str
) -> None:
    needed(name)
    with files_at_most(30_000):
        message = mistake("export", run, "--output", tmp_path / "model", "--format", name)
    assert "makeroomandrunthesamecommandagain" in message
    assert not (tmp_path / "model").exists()


def test_an_embedding_that_is_not_the_runs_is_a_fault(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed("sentence-transformers")
    monkeypatch.setattr(
        sentence_transformers, "pooled", lambda states, inside, pooling: states.amax(1)
    )
    with pytest.raises(RuntimeError, match="does not compute what the run does"):
        export_run(run, tmp_path / "model", None, "sentence-transformers")
    assert not (tmp_path / "model").exists()


def test_the_help_names_the_formats_and_the_options() -> None:
    shown = call("export", "--help").stdout
    for name in FORMATS:
        assert name in shown
