"""What the documents show works as they show it."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

import pretrain_tasks
from ernie_cmtl.config import RunConfig, TaskConfig
from ernie_cmtl.corpus import layers
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.run.run import Run
from ernie_cmtl.task_checks.features import BASELINES
from ernie_cmtl.task_registry import TASKS, describe_task
from ernie_cmtl.training.learning_rate import Schedule
from ernie_cmtl.training.loss_weighting import LOSS_WEIGHTINGS
from ernie_cmtl.verbs.inspect import inspect
from ernie_cmtl.verbs.pretrain import pretrain
from ernie_cmtl.verbs.tasks_check import tasks_check
from tests.support.corpora import build_corpus, sample_texts
from tests.support.labelled_rows import SUPERVISED
from tests.support.runs import Watcher, tiny_settings

ROOT = Path(__file__).parents[1]


def _block(document: str, language: str, holding: str = "") -> str:
    """The first block of a language that holds some words."""
    blocks = re.findall(
        rf"```{language}\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL
    )
    return next(block for block in blocks if holding in block)


def test_the_task_of_the_walk_through_trains(
    english: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "tasks"
    outside.mkdir()
    source = _block("docs/tasks.md", "python", "PretrainTask")
    assert source.count("\n") < 40
    (outside / "swapped_halves.py").write_text(source)
    monkeypatch.setattr(pretrain_tasks, "__path__", [*pretrain_tasks.__path__, str(outside)])
    settings = tiny_settings(english, tmp_path / "run")
    settings["stages"] = [{"name": "all", "budgets": {"knowledge_masking": 2, "swapped_halves": 2}}]
    result = pretrain(RunConfig.model_validate(settings), Watcher())
    assert result["heldout"]["swapped_halves/swapped"]["labels"] > 0


def test_the_span_provider_of_the_document_finds_spans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quoted_titles.py").write_text(_block("docs/tasks.md", "python", "SpanProvider"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(layers._LAYERS, "_modules", {})
    name = layers.add_layer_module("quoted_titles")
    texts = [f"{text}\nThey read “The Story of Numbers” aloud." for text in sample_texts("en", 8)]
    build_corpus(tmp_path, texts, layers={name: {}})
    shards = Corpus(tmp_path / "corpus").split("train").arrays
    assert sum(int((arrays[name] == 1).sum()) for arrays in shards) >= 6


def _module_of(folder: Path, holding: str) -> str:
    """Write a block of the document on extending as a module, and return its name."""
    source = _block("docs/extending.md", "python", f"class {holding}(")
    name = re.sub(r"(?<!^)([A-Z])", r"_\1", holding).lower()
    (folder / f"{name}.py").write_text(source)
    return name


def test_the_layers_of_integers_and_the_task_that_reads_one_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(layers._LAYERS, "_modules", {})
    monkeypatch.setattr(TASKS, "_modules", dict(TASKS._modules))
    made = [
        layers.add_layer_module(_module_of(tmp_path, name))
        for name in ("NumberLength", "PlaceInDocument")
    ]
    texts = [
        f"{text} The mp3 costs 12 cents, since 1998 it was {7 * number}."
        for number, text in enumerate(sample_texts("en", 30), start=1)
    ]
    build_corpus(tmp_path, texts, layers={key: {} for key in made})
    corpus = Corpus(tmp_path / "corpus")
    train = corpus.split("train")
    start, stop = train.document_tokens[1:3].tolist()
    document = train.passage(start, stop, tuple(made))
    assert document.layers["place_in_document"].tolist() == list(range(stop - start))
    # 12, 1998 and a number of the document; only the last has other digits.
    found = [value for value in document.layers["number_length"].tolist() if 0 < value < 255]
    assert found[-3:-1] == [2, 4]
    name = TASKS.add_module(_module_of(tmp_path, "HiddenNumbers"))
    (sample, *_) = inspect(tmp_path / "corpus", name, TaskConfig(), 1, 4096, 1)
    at = {position: int(label) for position, label in sample.targets["digits"]}
    assert len(at) >= 3
    # All digits look alike, and the labels are those of the text.
    assert len({token for token in sample.input if token.removeprefix("##").isdigit()}) == 1
    text = [token for sentence in sample.sentences for token in sentence.split(" ")]
    assert all(len(text[place - 1].removeprefix("##")) <= digits for place, digits in at.items())
    checked = tasks_check(corpus, name, TaskConfig(), 4096, 20, 1)
    bad = [rule for rule in checked["contract"] if not rule["passed"]]
    assert not bad, bad


def test_the_table_of_span_providers_names_them_all() -> None:
    text = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    for name in (name for name in layers.layer_names() if layers.find_layer(name).marks_spans):
        row = re.search(rf"^\| `{name}` \|.*$", text, re.MULTILINE)
        assert row
        assert all(
            f"`{option}`" in row[0] for option in layers.find_layer(name).Options.model_fields
        )


@pytest.mark.parametrize(
    "name", [path.stem for path in (ROOT / "pretrain_tasks").glob("[a-z]*.py")]
)
def test_the_document_on_tasks_has_definition_citation_input_labels_and_counts_of_each(
    name: str,
) -> None:
    text = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    measured = (ROOT / "benchmarks/results/2026-11-21-task-checks.md").read_text(encoding="utf-8")
    task = describe_task(name)
    row = re.search(rf"^\| `{name}` \|(.*)\|$", text, re.MULTILINE)
    assert row
    family, given, labels, languages = (cell.strip() for cell in row[1].split("|"))
    assert (family, languages) == (task["family"], ", ".join(task["languages"]))
    assert given
    assert labels
    citation = re.escape(task["citation"].partition(";")[0])
    assert re.search(rf"^\*\*{name}\*\* \({citation}.*\)?", text, re.MULTILINE)
    for head in [] if name in SUPERVISED else task["heads"]:
        counts = rf"^\| {name} \| \w\w, 128 \| {head['name']} \| [\d,]+ \| .+ \|$"
        assert re.search(counts, measured, re.MULTILINE)


def test_the_document_on_tasks_knows_every_rule_and_baseline_of_the_check(english: Corpus) -> None:
    text = (
        (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8").partition("## Checking a task")[2]
    )
    assert all(f"`{name}`" in text for name in BASELINES)
    edges = ("short documents", "one-sentence documents", "empty documents", "known leaks")
    for rule in tasks_check(english, "capitalization", TaskConfig(), 64, 20, 1)["contract"]:
        assert f"`{rule['name']}`" in text or rule["name"] in edges


def test_the_run_of_the_readme_is_valid(english: Corpus) -> None:
    settings = yaml.safe_load(_block("README.md", "yaml"))
    run = Run(RunConfig.model_validate(settings | {"corpus": str(english.folder)}))
    assert run.table.steps == 4000 + 4000 + 6000
    assert [instance.name for instance in run.instances] == [
        "knowledge_masking",
        "capitalization",
        "sentence_reordering",
    ]


def test_the_settings_of_the_document_on_scheduling_are_valid() -> None:
    text = (ROOT / "docs" / "scheduling.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    stages = next(block for block in blocks if "stages" in block)
    others = [block if isinstance(block, dict) else {"stages": block} for block in blocks]
    assert len(others) == 5
    for block in others:
        table = {} if {"stages", "preset"} & block.keys() else stages
        config = RunConfig.model_validate({"run": "r", "corpus": "c"} | table | block)
        assert config.stages
        assert (config.feedback is not None) == ("feedback" in block)
        assert (config.loss_weighting.rule != "manual") == ("loss_weighting" in block)
    assert all(f"| `{name}` |" in text for name in LOSS_WEIGHTINGS.names() if name != "manual")


def test_the_stages_of_the_document_on_training_are_valid(english: Corpus) -> None:
    settings = yaml.safe_load(_block("docs/training.md", "yaml"))
    config = RunConfig.model_validate(settings | {"run": "r", "corpus": str(english.folder)})
    assert [data.longest for data in config.stage_data] == [128, 128, 512]


def test_the_configs_of_the_readme_are_those_that_ship() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    recipes = ROOT / "configs" / "finetune"
    shipped = {
        path.name for path in (ROOT / "configs").rglob("*.yaml") if recipes not in path.parents
    }
    assert set(re.findall(r"`(\w+\.yaml)`", text)) == shipped


def test_the_document_on_training_knows_every_schedule() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert all(f"| `{name}`" in text for name in get_args(Schedule))


def test_the_map_of_the_readme_is_the_tree() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^  ([a-z_]+)/ ", text, re.MULTILINE))
    assert drawn == {path.parent.name for path in (ROOT / "ernie_cmtl").glob("*/__init__.py")}


def test_the_files_that_the_architecture_names_exist_and_hold_what_it_says() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    # A name in capitals stands for that of a verb, layer or task.
    named = re.findall(r"`([a-z_/]+\.py|[a-z_]+/[a-z_/]*)`", text)
    assert len(named) > 60
    roots = (
        ROOT,
        ROOT / "ernie_cmtl",
        *(ROOT / "ernie_cmtl" / folder for folder in ("corpus/read", "task_checks")),
    )
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []
    for file, name in re.findall(r"`([a-z_/]+\.py)` \(`(?:\w+\.)?(\w+)`\)", text):
        assert re.search(
            rf"(def|class) {name}\b", (ROOT / "ernie_cmtl" / file).read_text(encoding="utf-8")
        ), (file, name)
    questions = re.findall(r"^\| .*\? \|", text, re.MULTILINE)
    assert len(questions) >= 20


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_links_between_documents_lead_to_a_page_and_a_heading() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/**/*.md")]
    broken = []
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if ":" in path:
                continue
            headings = (
                re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                if target.suffix == ".md" and target.exists()
                else []
            )
            if not target.exists() or (anchor and anchor not in map(_anchor, headings)):
                broken.append((page.name, link))
    assert broken == []
