"""The verbs as a person or a script uses them: one result on standard output, one message for each mistake."""

import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from transformers import AutoModelForMaskedLM, AutoTokenizer
from typer.testing import CliRunner

from ernie_cmtl.cli.app import app
from ernie_cmtl.corpus import layers
from ernie_cmtl.corpus.store.corpus import Corpus
from tests.conftest import sample_texts, write_jsonl

ROOT = Path(__file__).parents[2]
VERBS = ["prepare", "tasks", "inspect", "plan", "pretrain", "extend", "evaluate", "finetune", "export", "bench"]
TASKS = sorted(path.stem for path in (ROOT / "pretrain_tasks").glob("*.py") if not path.stem.startswith("_"))
DOCUMENTS = 14
RUN = {
    "stages": [
        {"name": "words", "budgets": {"knowledge_masking": 3}},
        {"name": "order", "budgets": {"knowledge_masking": 1, "sentence_reordering": 2}},
    ],
    "data": {"row_length": 64, "rows": 4, "rows_per_group": 2},
    "encoder": {"layers": 1, "hidden_size": 32, "attention_heads": 2, "maximum_positions": 64},
    "training": {"precision": "fp32", "log_every": 2, "heldout_samples": 8, "trackers": []},
}


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def result_of(*words: str | Path) -> Any:
    """Return the one JSON value that a verb prints on standard output."""
    done = call(*words, "--json")
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    return json.loads(done.stdout)


def squeezed(text: str) -> str:
    """Drop spaces and the frames of help, so that it does not matter where a line was broken."""
    return re.sub(r"[\s│╭╮╰╯─]", "", text)


@dataclass
class Line:
    """A whole line, from raw text to an exported model, each verb called once."""

    folder: Path
    prepared: dict[str, Any]
    pretrained: dict[str, Any]
    evaluated: dict[str, Any]
    exported: dict[str, Any]

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus"

    @property
    def config(self) -> Path:
        return self.folder / "run.yaml"

    @property
    def run(self) -> Path:
        return self.folder / "run"


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    folder = tmp_path_factory.mktemp("line")
    texts = sample_texts("en", DOCUMENTS)
    write_jsonl(folder / "text.jsonl", [*texts, texts[3], "   "])
    prepared = result_of(
        *("prepare", "--input", folder / "text.jsonl", "--output", folder / "corpus", "--language", "en"),
        *("--vocabulary-size", "1200", "--processes", "1", "layers.collocations.minimum_count=4"),
    )
    settings = RUN | {"run": str(folder / "run"), "corpus": str(folder / "corpus")}
    (folder / "run.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    pretrained = result_of("pretrain", folder / "run.yaml")
    evaluated = result_of("evaluate", folder / "run")
    exported = result_of("export", folder / "run", "--output", folder / "model")
    return Line(folder, prepared, pretrained, evaluated, exported)


def test_prepare_reports_what_it_read_and_built(line: Line) -> None:
    found = line.prepared
    texts = sample_texts("en", DOCUMENTS)
    tokenizer = AutoTokenizer.from_pretrained(line.corpus / "tokenizer")
    tokens = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
    counts = {name: found["documents"][name] for name in ("read", "used", "rejected", "duplicates")}
    assert counts == {"read": DOCUMENTS + 2, "used": DOCUMENTS, "rejected": 1, "duplicates": 1}
    assert found["tokens"] == tokens
    assert found["bytes"] == sum(len(text.strip().encode()) for text in texts)
    assert DOCUMENTS < found["sentences"] < tokens
    assert found["seconds"] > 0
    assert found["corpus"] == str(line.corpus)
    assert re.fullmatch("[0-9a-f]{64}", found["fingerprint"])
    assert found["fingerprint"] == Corpus(line.corpus).manifest.fingerprint
    assert found["vocabulary_size"] == len(tokenizer) <= 1200


def test_pretrain_reports_the_run(line: Line) -> None:
    found = line.pretrained
    logged = [json.loads(text) for text in (line.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (found["run"], found["steps"], found["stages"]) == (str(line.run), 6, ["words", "order"])
    assert found["consumed"] == [entry for entry in logged if entry["kind"] == "train"][-1]["consumed"]
    assert set(found["consumed"]) == {"knowledge_masking", "sentence_reordering"}
    assert sum(found["consumed"].values()) <= 6 * 4 * 64
    assert set(found["losses"]) == {"knowledge_masking/masked_token", "sentence_reordering/order"}
    assert 0 < found["losses"]["sentence_reordering/order"] < 2 * math.log(9)
    assert found["real_tokens_per_second"] * found["seconds"] == pytest.approx(sum(found["consumed"].values()), rel=0.02)


def test_evaluate_measures_what_the_run_measured_at_its_end(line: Line) -> None:
    assert line.evaluated["heldout"] == line.pretrained["heldout"]
    for name, loss in line.pretrained["losses"].items():
        score = line.evaluated["heldout"][name]
        assert score["loss"] == loss
        assert 0 <= score["accuracy"] <= 1
        assert score["labels"] > 0


def test_evaluate_judges_runs_and_exports_without_training(line: Line, tmp_path: Path) -> None:
    pairs = [{"good": "It is a list.", "bad": "It are a list.", "group": "[a]"}, {"good": "We are here.", "bad": "We is here."}]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (tmp_path / "sts.tsv").write_text("sentence1\tsentence2\tscore\na b\ta b c\t3\nlists\tfiles\t1\nthe name\tits name\t2\n")
    words = ("--minimal-pairs", tmp_path / "pairs.jsonl", "--sts", tmp_path / "sts.tsv")
    for name in (line.run, line.folder / "model"):
        found = result_of("evaluate", name, *words)
        assert set(found["minimal_pairs"]["groups"]) == {"[a]", "pairs"}
        assert found["minimal_pairs"]["pairs"] == 2
        assert set(found["sts"]) == {"pairs", "mean", "cls"}
        assert ("heldout" in found) == (name == line.run)
    shown = squeezed(call("evaluate", line.folder / "model", *words).stdout)
    assert "[a]" in shown
    assert f"{found['sts']['cls']['pearson']:.4f}" in shown


def test_export_writes_a_model_that_loads(line: Line) -> None:
    assert line.exported == {"path": str(line.folder / "model"), "format": "hf", "max_abs_logit_difference": 0.0}
    assert AutoModelForMaskedLM.from_pretrained(line.folder / "model").config.hidden_size == 32


def test_a_finished_run_is_not_trained_again(line: Line) -> None:
    before = (line.run / "checkpoints" / "step-6" / "model.safetensors").stat().st_mtime_ns
    again = result_of("pretrain", line.config)
    assert (again["steps"], again["losses"]) == (6, line.pretrained["losses"])
    assert (line.run / "checkpoints" / "step-6" / "model.safetensors").stat().st_mtime_ns == before


def test_a_planned_stop_is_no_failure(line: Line, tmp_path: Path) -> None:
    words = ("pretrain", line.config, f"run={tmp_path / 'run'}")
    first = result_of(*words, "training.max_hours=0.0000001")
    assert (first["steps"], first["finished"], first["interrupted"]) == (1, False, False)
    second = result_of(*words)
    assert (second["steps"], second["finished"], second["losses"]) == (6, True, line.pretrained["losses"])


def test_tasks_lists_every_file_of_tasks() -> None:
    rows = result_of("tasks")
    assert [row["name"] for row in rows] == TASKS
    for row in rows:
        assert {"name", "family", "layers", "heads", "languages", "source"} <= set(row)
        assert row["family"] in ("lexical", "syntactic", "semantic")
        assert row["heads"]
        assert set(row["languages"]) <= {"en", "zh"}
    shown = squeezed(CliRunner(env={"COLUMNS": "240"}).invoke(app, ["tasks"]).stdout)
    for row in rows:
        heads = ", ".join(f"{head['name']} ({head['kind']})" for head in row["heads"])
        cells = (row["name"], row["family"], ", ".join(row["layers"]), heads, ", ".join(row["languages"]), row["source"])
        assert squeezed("".join(cells)) in shown.replace("┃", "").replace("│", "")


def test_bench_reports_the_documented_measures(line: Line) -> None:
    found = result_of("bench", line.config, "--steps", "2", "--warmup", "1")
    documented = {"mfu", "packing_efficiency", "data_wait_share", "peak_memory_bytes", "real_tokens_per_second", "step_seconds"}
    assert documented <= set(found)
    assert found["peak_tflops_from"] == "measured"
    assert 0.5 < found["packing_efficiency"] <= 1
    assert set(found["step_seconds"]) == {"data", "forward", "backward", "optimizer", "communication", "total"}
    assert result_of("bench", line.config, "--steps", "2", "--warmup", "1", "--peak-tflops", "1")["mfu"] > 0


@pytest.mark.parametrize("task", ["knowledge_masking", "sentence_reordering"])
def test_inspect_shows_the_tokens_of_the_text(line: Line, task: str) -> None:
    words = ("inspect", task, "--corpus", line.corpus, "--samples", "2", "--length", "48")
    shown = call(*words)
    assert shown.exit_code == 0
    corpus = Corpus(line.corpus)
    text = corpus.split("train")
    places = [(int(first), int(end)) for first, end in re.findall(r"sample \d+: tokens (\d+)-(\d+)", shown.stdout)]
    samples = result_of(*words)
    assert len(places) == len(samples) == 2
    for (first, end), sample in zip(places, samples, strict=True):
        tokens = corpus.tokenizer.convert_ids_to_tokens(text.passage(first, end, ()).token_ids.tolist())
        assert " ".join(sample["sentences"]) == " ".join(tokens)
        assert squeezed("".join(tokens)) in squeezed(shown.stdout)
        inner = [token for token in sample["input"] if token not in ("[CLS]", "[SEP]")]
        if task == "sentence_reordering":
            assert sorted(inner) == sorted(tokens)
            assert [place for place, _ in sample["targets"]["order"]] == [0]
        else:
            restored = list(sample["input"])
            for place, label in sample["targets"]["masked_token"]:
                restored[place] = label
            assert restored == ["[CLS]", *tokens, "[SEP]"]


def test_inspect_takes_options_of_the_task(line: Line) -> None:
    words = ("inspect", "knowledge_masking", "--corpus", line.corpus, "--samples", "1")
    few, many = (result_of(*words, f"masking.rate={rate}")[0]["targets"]["masked_token"] for rate in ("0.05", "0.9"))
    assert len(many) > 3 * len(few)


def test_inspect_shows_the_labelled_rows_that_a_task_draws_from(line: Line, tmp_path: Path) -> None:
    shutil.copytree(line.corpus, tmp_path / "corpus")
    pairs = tmp_path / "pairs.tsv"
    markers = {"function": "however", "class": "finally", "name": "indeed"}
    rows = [f"The {word} is number {n}.\tThis is {n} of the {word}.\t{markers[word]}\n" for n in range(20) for word in markers]
    pairs.write_text("first\tsecond\tmarker\n" + "".join(rows))
    result_of("prepare", "--corpus", tmp_path / "corpus", "--labelled", f"pairs={pairs}")
    words = ("inspect", "discourse_relation", "--corpus", tmp_path / "corpus", "--samples", "5", "rows=pairs")
    assert "rows 'pairs' have no class column 'label' (label=COLUMN); there are: marker" in call(*words).stderr
    samples = result_of(*words, "label=marker")
    for sample in samples:
        first, second = sample["sentences"]
        (word,) = (word for word in markers if f"the {word} is" in first)
        assert f"of the {word}" in second
        assert list(sample["spans"]) == ["capitalized_names", "collocations"]
        assert [label for _, label in sample["targets"]["marker"]] == [markers[word]]


def test_inspect_names_the_layer_of_each_span(line: Line) -> None:
    words = ("inspect", "knowledge_masking", "--corpus", line.corpus, "--samples", "12", "--length", "64")
    samples = result_of(*words)
    assert all(list(sample["spans"]) == ["capitalized_names", "collocations"] for sample in samples)
    found = [span for sample in samples for span in sample["spans"]["collocations"]]
    assert len(found) > 5
    phrases = (line.corpus / "fitted" / "collocations" / "collocations.tsv").read_text(encoding="utf-8").replace(" ", "")
    # A span that the sample's edge cut off is part of a phrase.
    assert all(re.sub(r" |##", "", span) in phrases for span in found)
    shown = call(*words).stdout
    assert squeezed("collocations: " + " | ".join(samples[0]["spans"]["collocations"])) in squeezed(shown)


def test_prepare_adds_to_a_corpus_and_the_next_run_sees_it(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(line.corpus, tmp_path / "corpus")
    names = tmp_path / "names.txt"
    names.write_text("the assignment statement\nname\n")
    more = write_jsonl(tmp_path / "more.jsonl", sample_texts("en", 20)[DOCUMENTS:])
    words = ("prepare", "--corpus", tmp_path / "corpus", "--input", f"more={more}", "mixture.text=0.5", "mixture.more=0.5")
    more_layers = ("gazetteer", "quoted")
    (tmp_path / "quoted.py").write_text(
        "from ernie_cmtl.corpus.layers import SpanProvider\n\n\n"
        "class Quoted(SpanProvider):\n    source = 'test'\n\n    def spans(self, text):\n        return []\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(layers._LAYERS, "_modules", {})
    own = ("--layer-module", "quoted", f"layers.gazetteer.files=[{names}]")
    added = result_of(*words, "--layers", *more_layers, *own)
    assert added["documents"]["read"] == line.prepared["documents"]["read"] + 6
    assert added["layers"] == [*line.prepared["layers"], *more_layers]
    assert {name: source["mixture"] for name, source in added["sources"].items()} == {"more": 0.5, "text": 0.5}
    sample = result_of("inspect", "knowledge_masking", "--corpus", tmp_path / "corpus", "--samples", "30")
    assert {"name"} <= {span for row in sample for span in row["spans"]["gazetteer"]}
    evaluated = result_of("evaluate", line.run, "--corpus", tmp_path / "corpus")
    assert set(evaluated["sources"]) == {"more", "text"}
    assert evaluated["sources"]["more"]["knowledge_masking/masked_token"]["loss"] > 0
    short = result_of("evaluate", line.run, "--corpus", tmp_path / "corpus", "--no-sources")
    assert short == evaluated | {"sources": {}}
    assert evaluated["corpus"] == str(tmp_path / "corpus")


def test_a_layer_of_ones_own_is_one_file(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quoted_words.py").write_text(
        "import re\n"
        "from ernie_cmtl.corpus.layers import SpanProvider\n\n\n"
        "class QuotedWords(SpanProvider):\n"
        "    source = 'test'\n\n"
        "    def spans(self, text):\n"
        "        return [match.span(1) for match in re.finditer('\\\"([a-z ]+)\\\"', text)]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("ernie_cmtl.corpus.layers._LAYERS._modules", {})
    shutil.copytree(line.corpus, tmp_path / "corpus")
    words = ("prepare", "--corpus", tmp_path / "corpus", "--layers", "quoted_words", "--processes", "2")
    assert result_of(*words, "--layer-module", "quoted_words")["layers"][-1] == "quoted_words"
    split = Corpus(tmp_path / "corpus").split("train")
    assert sum(int((array["quoted_words"] == 1).sum()) for array in split.arrays) > 20


def mistake(*words: str | Path) -> str:
    """Return the message that a wrong call gives, after checking that it is one and no traceback."""
    done = call(*words)
    assert done.exit_code == 2, (done.exit_code, done.exception, done.stderr)
    assert isinstance(done.exception, SystemExit)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    return squeezed(done.stderr.partition("error:")[2])


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        pytest.param("prepare --input {0}/absent.txt --output {0}/o --language en", ["absent.txt"], id="missing input"),
        pytest.param("prepare --input {0}/*.text --output {0}/o --language en", ["*.text"], id="empty glob"),
        pytest.param("prepare --input {0}/empty --output {0}/o --language en", ["empty", ".txt", ".jsonl.gz"], id="empty folder"),
        pytest.param("prepare --input {0}/run.yaml --output {0}/o --language en", ["run.yaml", ".jsonl"], id="unknown ending"),
        pytest.param("prepare --input {0}/text.jsonl --output {0}/o --language de", ["'de'", "en, zh"], id="unknown language"),
        pytest.param("prepare --output {0}/o --language en", ["--input"], id="no input"),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language en tokenizer.vocab_size=9",
            ["'tokenizer.vocab_size'", "'vocabulary_size'", "minimum_frequency"],
            id="unknown setting of prepare",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language en --documents line",
            ["text_documents", "'line'", "'blank_line'"],
            id="unknown separation",
        ),
        pytest.param("prepare --input {0}/text.jsonl --output {0}/corpus --language en", ["holds a corpus"], id="corpus there"),
        pytest.param("prepare --input {0}/text.jsonl --output {0}/run --language en", ["/run is not empty"], id="output in use"),
        pytest.param("prepare --input {0}/text.jsonl --output {0}/run.yaml --language en", ["run.yaml"], id="output is a file"),
        pytest.param("prepare --input {0}/text.jsonl --language en", ["--output", "--corpus"], id="neither output nor corpus"),
        pytest.param(
            "prepare --input {0}/table.csv --output {0}/o --language en reader.text_field=body",
            ["'body'", "table.csv", "id, text", "reader.text_field"],
            id="unknown column",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language en --labelled pairs={0}/ragged.tsv",
            ["ragged.tsv", "line 3"],
            id="label file with a wrong number of columns",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language en --labelled ragged.tsv",
            ["'ragged.tsv'", "NAME=FILE"],
            id="labelled rows without a name",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language en labelled.a/b.file={0}/ragged.tsv",
            ["labelled", "letters, digits and underscores"],
            id="labelled rows whose name is a path",
        ),
        pytest.param(
            "prepare --input a={0}/text.jsonl b={0}/table.csv --output {0}/o --language en mixture.a=0.5 mixture.b=0.4",
            ["sum to 1", "0.9"],
            id="weights that do not sum",
        ),
        pytest.param(
            "prepare --input a={0}/text.jsonl b={0}/table.csv --output {0}/o --language en mixture.a=1.5 mixture.b=-0.5",
            ["negative", "b=-0.5"],
            id="negative weights",
        ),
        pytest.param(
            "prepare --input datasets:somebody/something --output {0}/o --language en",
            ["datasets:somebody/something", "Offline"],
            id="a name on the Hub while offline",
        ),
        pytest.param("prepare --input allenai/c4 --output {0}/o --language en", ["datasets:allenai/c4"], id="a name on the Hub"),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language en --layers nouns",
            ["'nouns'", "collocations", "capitalized_names"],
            id="a layer that does not exist",
        ),
        pytest.param("prepare --corpus {0}/corpus --layers nouns", ["'nouns'", "collocations"], id="no such layer to add"),
        pytest.param("prepare --corpus {0}/corpus --layers collocations", ["already"], id="a layer that is there"),
        pytest.param("prepare --corpus {0}/corpus", ["--input", "--layers", "--labelled"], id="nothing to add"),
        pytest.param("prepare --corpus {0}/corpus --language en --layers x", ["--language"], id="language of a corpus"),
        pytest.param(
            "prepare --corpus {0}/corpus --layers gazetteer --vocabulary-size 9000",
            ["tokenizer.vocabulary_size", "layers"],
            id="fixed setting of a corpus",
        ),
        pytest.param("prepare --corpus {0}/empty --layers gazetteer", ["no corpus at"], id="no corpus to add to"),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language en --layer-module no.such",
            ["no.such", "does not import"],
            id="layer module that does not import",
        ),
        pytest.param("pretrain {0}/absent.yaml", ["absent.yaml"], id="missing config"),
        pytest.param("bench {0}/run.yaml mixture.news=1", ["news", "sources are text"], id="mixture of unknown sources"),
        pytest.param(
            "pretrain {0}/run.yaml tasks.knowledge_masking.masking.spans=[gazetteer]",
            ["'gazetteer'", "--layers gazetteer"],
            id="a task with a layer that the corpus lacks",
        ),
        pytest.param("pretrain {0}", ["no config file"], id="config is a folder"),
        pytest.param("pretrain {0}/run.yaml data.row=64", ["'data.row'", "'rows'", "row_length"], id="unknown config key"),
        pytest.param("pretrain {0}/run.yaml data.rows=many", ["data.rows", "'many'"], id="bad value"),
        pytest.param("pretrain {0}/run.yaml data.rows", ["'data.rows'", "key.sub=value"], id="malformed override"),
        pytest.param("pretrain {0}/unknown_task.yaml", ["'capitalisation'", *TASKS], id="unknown task in a config"),
        pytest.param("pretrain {0}/run.yaml --corpus {0}/empty", ["no corpus at", "/empty"], id="no corpus"),
        pytest.param("pretrain {0}/run.yaml seed=8", ["/run", "step 6", "seed"], id="run folder of other settings"),
        pytest.param("evaluate {0}/empty", ["/empty is no run folder", "config.yaml"], id="evaluate no run"),
        pytest.param("evaluate {0}/absent", ["/absent is no run folder"], id="evaluate nothing"),
        pytest.param("evaluate {0}/run --step 4", ["step 4", "it has 6"], id="evaluate absent step"),
        pytest.param("evaluate {0}/model", ["/model is no run folder"], id="evaluate a model on nothing"),
        pytest.param("evaluate {0}/model --minimal-pairs {0}/run.yaml", ["run.yaml, line 1 is no JSON"], id="evaluate no pairs"),
        pytest.param("evaluate {0}/model --sts {0}/absent.tsv", ["no file", "absent.tsv"], id="evaluate absent similarity"),
        pytest.param("evaluate {0}/run optimizer.beta1=0.5", ["tasks.NAME.OPTION=value"], id="evaluate other settings"),
        pytest.param("export {0}/corpus --output {0}/x", ["/corpus is no run folder"], id="export no run"),
        pytest.param("export {0}/run --output {0}/x --format tflite", ["'tflite'", "accepted: hf"], id="unknown format"),
        pytest.param("export {0}/run --output {0}/corpus", ["/corpus is not empty"], id="export into other files"),
        pytest.param("export {0}/run --output {0}/run.yaml", ["run.yaml"], id="export onto a file"),
        pytest.param("inspect nonsense --corpus {0}/corpus", ["'nonsense'", *TASKS], id="unknown task to inspect"),
        pytest.param("inspect capitalization --corpus {0}/empty", ["/empty"], id="inspect without corpus"),
        pytest.param(
            "inspect knowledge_masking --corpus {0}/corpus masking.rat=1",
            ["'masking.rat'", "'rate'"],
            id="unknown option of a task",
        ),
        pytest.param("inspect knowledge_masking --corpus {0}/corpus masking.rate=2", ["rate", "2"], id="bad option of a task"),
        pytest.param("inspect knowledge_masking --corpus {0}/corpus rate", ["'rate'", "key.sub=value"], id="malformed option"),
        pytest.param("bench {0}/absent.yaml", ["absent.yaml"], id="bench without config"),
        pytest.param("bench {0}/run.yaml encoder.layer=1", ["'encoder.layer'", "'layers'"], id="bench unknown key"),
        pytest.param("bench {0}/run.yaml --warmup 6", ["6"], id="bench longer than the run"),
    ],
)
def test_a_mistake_gives_one_message_that_names_it(line: Line, words: str, parts: list[str]) -> None:
    (line.folder / "empty").mkdir(exist_ok=True)
    (line.folder / "table.csv").write_text("id,text\n1,Some words here.\n")
    (line.folder / "ragged.tsv").write_text("left\tright\tlabel\nfine\ttoo\t1\nonly\ttwo\n")
    unknown = {
        "stages": [{"name": "only", "budgets": {"capitalisation": 3}}],
        "run": str(line.folder / "x"),
        "corpus": str(line.corpus),
    }
    (line.folder / "unknown_task.yaml").write_text(yaml.safe_dump(RUN | unknown), encoding="utf-8")
    message = mistake(*(word.format(line.folder) for word in words.split()))
    assert all(squeezed(part) in message for part in parts), message
    assert not (line.folder / "o").exists()
    assert not (line.folder / "x").exists()


def test_a_long_message_is_not_broken_into_lines(tmp_path: Path) -> None:
    """A path that is cut in two cannot be copied, nor found in a log."""
    path = tmp_path / "a folder with a long name" / ("and one more" * 8) / "absent.yaml"
    assert f"error: no config file {path}\n" in call("pretrain", path).stderr


def test_a_corpus_too_small_to_hold_text_out_is_refused_before_the_first_step(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 3))
    words = ("--input", tmp_path / "text.jsonl", "--output", tmp_path / "corpus", "--language", "en", "--processes", "1")
    assert result_of("prepare", *words)["documents"]["heldout"] == 0
    settings = RUN | {"run": str(tmp_path / "run"), "corpus": str(tmp_path / "corpus")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    message = mistake("pretrain", tmp_path / "run.yaml")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert "held" in message


@pytest.mark.parametrize("words", [("pretrain",), ("prepare", "--inputs", "x"), ("export", "run"), ("nonsense",)])
def test_a_call_that_no_verb_understands_exits_with_2(words: tuple[str, ...]) -> None:
    done = call(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_help_lists_exactly_the_verbs() -> None:
    commands = squeezed(call("--help").stdout).partition("Commands")[2]
    assert all(verb in commands for verb in VERBS)
    named = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert named | {group.name for group in app.registered_groups} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_an_example_that_its_options_allow(verb: str) -> None:
    done = call(verb, "--help")
    assert done.exit_code == 0
    options, _, example = " ".join(done.stdout.split()).partition("Example: ")
    assert example.startswith(f"ernie-cmtl {verb}")
    assert all(option in options for option in re.findall(r"--[a-z-]+", example))
    assert "--json" in options


def test_people_see_a_table_in_place_of_the_json(line: Line) -> None:
    done = call("evaluate", line.run)
    shown = (done.stdout + done.stderr).partition("retention")[0]
    assert done.exit_code == 0
    for name, score in line.evaluated["heldout"].items():
        (row,) = (text for text in shown.splitlines() if name in text)
        assert f"{score['loss']:.4f}" in row
    assert "{" not in shown


def test_people_see_what_each_stage_did_to_each_task(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    matrix = line.evaluated["retention"]["matrix"]
    assert line.evaluated["retention"] == line.pretrained["retention"]
    assert [(row["stage"], row["step"]) for row in matrix] == [("start", 0), ("words", 3), ("order", 6)]
    for words in (("evaluate", line.run), ("pretrain", line.config)):
        lines = call(*words).stdout.partition("retention")[2].splitlines()
        (header,) = (text for text in lines if "task, head" in text)
        assert header.index("start") < header.index("S1") < header.index("S2")
        first_words = [text.split()[0] for text in lines if text.strip()]
        for name in line.evaluated["heldout"]:
            task, _, head = name.partition("/")
            assert first_words.index(task) < first_words.index(head)


def test_the_launcher_runs_the_verbs_in_a_process_of_its_own(tmp_path: Path) -> None:
    def launch(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "launch.py"), *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    listed = launch("tasks", "--json")
    assert (listed.returncode, [row["name"] for row in json.loads(listed.stdout)]) == (0, TASKS)
    wrong = launch("prepare", "--input", "absent.txt", "--output", "o", "--language", "en")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.strip() == "error: no such file, folder or glob: absent.txt"
