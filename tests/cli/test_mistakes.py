"""A mistake of a user's is one message that names it, whatever the verb."""

from pathlib import Path

import pytest
import yaml

from tests.support.command_line import RUN, TASKS, Line, call, mistake, result_of, squeezed
from tests.support.corpora import sample_texts, write_jsonl


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        pytest.param(
            "prepare --input {0}/absent.txt --output {0}/o --language en",
            ["absent.txt"],
            id="missing input",
        ),
        pytest.param(
            "prepare --input {0}/*.text --output {0}/o --language en", ["*.text"], id="empty glob"
        ),
        pytest.param(
            "prepare --input {0}/empty --output {0}/o --language en",
            ["empty", ".txt", ".jsonl.gz"],
            id="empty folder",
        ),
        pytest.param(
            "prepare --input {0}/run.yaml --output {0}/o --language en",
            ["run.yaml", ".jsonl"],
            id="unknown ending",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language de",
            ["'de'", "en, zh"],
            id="unknown language",
        ),
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
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/corpus --language en",
            ["holds a corpus"],
            id="corpus there",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/run --language en",
            ["/run is not empty"],
            id="output in use",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/run.yaml --language en",
            ["run.yaml"],
            id="output is a file",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --language en",
            ["--output", "--corpus"],
            id="neither output nor corpus",
        ),
        pytest.param(
            "prepare --input {0}/table.csv --output {0}/o --language en reader.text_field=body",
            ["'body'", "table.csv", "id, text", "reader.text_field"],
            id="unknown column",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language en --labelled "
            "pairs={0}/ragged.tsv",
            ["ragged.tsv", "line 3"],
            id="label file with a wrong number of columns",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language en --labelled ragged.tsv",
            ["'ragged.tsv'", "NAME=FILE"],
            id="labelled rows without a name",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language en "
            "labelled.a/b.file={0}/ragged.tsv",
            ["labelled", "letters, digits and underscores"],
            id="labelled rows whose name is a path",
        ),
        pytest.param(
            "prepare --input a={0}/text.jsonl b={0}/table.csv --output {0}/o --language en "
            "mixture.a=0.5 mixture.b=0.4",
            ["sum to 1", "0.9"],
            id="weights that do not sum",
        ),
        pytest.param(
            "prepare --input a={0}/text.jsonl b={0}/table.csv --output {0}/o --language en "
            "mixture.a=1.5 mixture.b=-0.5",
            ["negative", "b=-0.5"],
            id="negative weights",
        ),
        pytest.param(
            "prepare --input datasets:somebody/something --output {0}/o --language en",
            ["datasets:somebody/something", "Offline"],
            id="a name on the Hub while offline",
        ),
        pytest.param(
            "prepare --input allenai/c4 --output {0}/o --language en",
            ["datasets:allenai/c4"],
            id="a name on the Hub",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language en --layers nouns",
            ["'nouns'", "collocations", "capitalized_names"],
            id="a layer that does not exist",
        ),
        pytest.param(
            "prepare --corpus {0}/corpus --layers nouns",
            ["'nouns'", "collocations"],
            id="no such layer to add",
        ),
        pytest.param(
            "prepare --corpus {0}/corpus --layers collocations",
            ["already"],
            id="a layer that is there",
        ),
        pytest.param(
            "prepare --corpus {0}/corpus",
            ["--input", "--layers", "--labelled"],
            id="nothing to add",
        ),
        pytest.param(
            "prepare --corpus {0}/corpus --language en --layers x",
            ["--language"],
            id="language of a corpus",
        ),
        pytest.param(
            "prepare --corpus {0}/corpus --layers gazetteer --vocabulary-size 9000",
            ["tokenizer.vocabulary_size", "layers"],
            id="fixed setting of a corpus",
        ),
        pytest.param(
            "prepare --corpus {0}/empty --layers gazetteer",
            ["no corpus at"],
            id="no corpus to add to",
        ),
        pytest.param(
            "prepare --input {0}/text.jsonl --output {0}/o --language en --layer-module no.such",
            ["no.such", "does not import"],
            id="layer module that does not import",
        ),
        pytest.param("pretrain {0}/absent.yaml", ["absent.yaml"], id="missing config"),
        pytest.param(
            "bench {0}/run.yaml mixture.news=1",
            ["news", "sources are text"],
            id="mixture of unknown sources",
        ),
        pytest.param(
            "pretrain {0}/run.yaml tasks.knowledge_masking.masking.spans=[gazetteer]",
            ["'gazetteer'", "--layers gazetteer"],
            id="a task with a layer that the corpus lacks",
        ),
        pytest.param("pretrain {0}", ["no config file"], id="config is a folder"),
        pytest.param(
            "pretrain {0}/run.yaml data.row=64",
            ["'data.row'", "'rows'", "row_length"],
            id="unknown config key",
        ),
        pytest.param(
            "pretrain {0}/run.yaml data.rows=many", ["data.rows", "'many'"], id="bad value"
        ),
        pytest.param(
            "pretrain {0}/run.yaml data.rows",
            ["'data.rows'", "key.sub=value"],
            id="malformed override",
        ),
        pytest.param(
            "pretrain {0}/unknown_task.yaml",
            ["'capitalisation'", *TASKS],
            id="unknown task in a config",
        ),
        pytest.param(
            "pretrain {0}/run.yaml --corpus {0}/empty", ["no corpus at", "/empty"], id="no corpus"
        ),
        pytest.param(
            "pretrain {0}/run.yaml seed=8",
            ["/run", "step 6", "seed"],
            id="run folder of other settings",
        ),
        pytest.param(
            "evaluate {0}/empty", ["/empty is no run folder", "config.yaml"], id="evaluate no run"
        ),
        pytest.param("evaluate {0}/absent", ["/absent is no run folder"], id="evaluate nothing"),
        pytest.param(
            "evaluate {0}/run --step 4", ["step 4", "it has 6"], id="evaluate absent step"
        ),
        pytest.param(
            "evaluate {0}/model", ["/model is no run folder"], id="evaluate a model on nothing"
        ),
        pytest.param(
            "evaluate {0}/model --minimal-pairs {0}/run.yaml",
            ["run.yaml, line 1 is no JSON"],
            id="evaluate no pairs",
        ),
        pytest.param(
            "evaluate {0}/model --sts {0}/absent.tsv",
            ["no file", "absent.tsv"],
            id="evaluate absent similarity",
        ),
        pytest.param(
            "evaluate {0}/run optimizer.beta1=0.5",
            ["tasks.NAME.OPTION=value"],
            id="evaluate other settings",
        ),
        pytest.param(
            "evaluate {0}/model --relatedness",
            ["/model is no run folder"],
            id="relatedness of a model that is no run",
        ),
        pytest.param(
            "evaluate {0}/run --relatedness --layers 2",
            ["--layers 2 does not fit", "accepted: 1 to 1"],
            id="relatedness by layers that are not there",
        ),
        pytest.param(
            "evaluate {0}/run --layers 1",
            ["--layers 1 is of --relatedness"],
            id="layers without relatedness",
        ),
        pytest.param(
            "export {0}/corpus --output {0}/x", ["/corpus is no run folder"], id="export no run"
        ),
        pytest.param(
            "export {0}/run --output {0}/x --format tflite",
            ["'tflite'", "registered are bert, hf, onnx, sentence_transformers"],
            id="unknown format",
        ),
        pytest.param(
            "export {0}/run --output {0}/x --head knowledge_masking/words",
            ["no head 'knowledge_masking/words'; it has", "order"],
            id="unknown head",
        ),
        pytest.param(
            "export {0}/run --output {0}/x --private",
            ["--private is of --push ORG/NAME"],
            id="private without push",
        ),
        pytest.param(
            "export {0}/run --output {0}/corpus",
            ["/corpus is not empty"],
            id="export into other files",
        ),
        pytest.param("export {0}/run --output {0}/run.yaml", ["run.yaml"], id="export onto a file"),
        pytest.param(
            "inspect nonsense --corpus {0}/corpus",
            ["'nonsense'", *TASKS],
            id="unknown task to inspect",
        ),
        pytest.param(
            "inspect capitalization --corpus {0}/empty", ["/empty"], id="inspect without corpus"
        ),
        pytest.param(
            "inspect knowledge_masking --corpus {0}/corpus masking.rat=1",
            ["'masking.rat'", "'rate'"],
            id="unknown option of a task",
        ),
        pytest.param(
            "inspect knowledge_masking --corpus {0}/corpus masking.rate=2",
            ["rate", "2"],
            id="bad option of a task",
        ),
        pytest.param(
            "inspect knowledge_masking --corpus {0}/corpus rate",
            ["'rate'", "key.sub=value"],
            id="malformed option",
        ),
        pytest.param("bench {0}/absent.yaml", ["absent.yaml"], id="bench without config"),
        pytest.param(
            "bench {0}/run.yaml encoder.layer=1",
            ["'encoder.layer'", "'layers'"],
            id="bench unknown key",
        ),
        pytest.param("bench {0}/run.yaml --warmup 6", ["6"], id="bench longer than the run"),
    ],
)
def test_a_mistake_gives_one_message_that_names_it(
    line: Line, words: str, parts: list[str]
) -> None:
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


def test_a_corpus_too_small_to_hold_text_out_is_refused_before_the_first_step(
    tmp_path: Path,
) -> None:
    write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 3))
    words = (
        "--input",
        tmp_path / "text.jsonl",
        "--output",
        tmp_path / "corpus",
        "--language",
        "en",
        "--processes",
        "1",
    )
    assert result_of("prepare", *words)["documents"]["heldout"] == 0
    settings = RUN | {"run": str(tmp_path / "run"), "corpus": str(tmp_path / "corpus")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    message = mistake("pretrain", tmp_path / "run.yaml")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert "held" in message


@pytest.mark.parametrize(
    "words", [("pretrain",), ("prepare", "--inputs", "x"), ("export", "run"), ("nonsense",)]
)
def test_a_call_that_no_verb_understands_exits_with_2(words: tuple[str, ...]) -> None:
    done = call(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
