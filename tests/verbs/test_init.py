"""The verb init: a configuration that fits a corpus, or a copy of a shipped one."""

from pathlib import Path

import pytest
import yaml

from ernie_cmtl.config import load_run_config
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.run import Run
from ernie_cmtl.scheduling.stages import StageTable
from ernie_cmtl.shipped_configs import shipped_configs
from ernie_cmtl.verbs import init as module
from ernie_cmtl.verbs.init import SIZES, init
from tests.support.command_line import ROOT, call


def test_a_configuration_fits_its_corpus(english: Corpus, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    result = init(file, english.folder, None, None, None, None)
    config = load_run_config(file)
    assert (config.run, config.corpus) == (Path("runs/mine"), english.folder)
    assert config.encoder.layers == SIZES["tiny"].layers
    assert result["steps"] == StageTable(config.stages).steps >= module.LEAST_STEPS
    assert "capitalization" in result["tasks"]
    assert [instance.name for instance in Run(config).instances] == result["tasks"]
    # A comment says what a number is for.
    assert file.read_text().count(" # ") >= 8


def test_a_language_gets_the_tasks_that_it_can_have(chinese: Corpus, tmp_path: Path) -> None:
    result = init(tmp_path / "mine.yaml", chinese.folder, None, None, None, None)
    assert "capitalization" not in result["tasks"]
    assert "sentence_reordering" in result["tasks"]


def test_tokens_and_sizes_are_those_that_were_asked_for(english: Corpus, tmp_path: Path) -> None:
    asked = 100 * SIZES["small"].rows * SIZES["small"].row_length
    init(tmp_path / "mine.yaml", english.folder, None, "small", asked, tmp_path / "run")
    config = load_run_config(tmp_path / "mine.yaml")
    assert StageTable(config.stages).steps == pytest.approx(100, abs=2)
    assert (config.run, config.encoder.hidden_size) == (tmp_path / "run", 256)


@pytest.mark.parametrize(
    ("text_tokens", "size"),
    [(10_000, "tiny"), (5_000_000, "small"), (10**9 - 1, "medium"), (10**12, "base")],
)
def test_more_text_gets_a_larger_encoder(text_tokens: int, size: str) -> None:
    assert module._size_for(text_tokens) == size


def test_tokens_follow_the_encoder_or_the_text() -> None:
    step = 4096
    assert module._tokens_for(1_000_000, 10**9, step)[0] == 20_000_000
    assert module._tokens_for(1_000_000, 100_000, step)[0] == 4_000_000
    assert module._tokens_for(1_000_000, 100, step)[0] == module.LEAST_STEPS * step


@pytest.mark.parametrize("name", ["quickstart", "paper/continual", "finetune/cola"])
def test_a_shipped_configuration_is_copied_with_its_comments(tmp_path: Path, name: str) -> None:
    file = tmp_path / "mine.yaml"
    init(file, None, name, None, None, Path("runs/other"))
    text, source = file.read_text(), (ROOT / f"configs/{name}.yaml").read_text()
    changed = [
        line
        for line, was in zip(text.splitlines(), source.splitlines(), strict=True)
        if line != was
    ]
    assert changed == ([] if name.startswith("finetune") else ["run: runs/other"])


def test_every_file_of_the_folder_is_shipped() -> None:
    configs = ROOT / "configs"
    found = {
        path.relative_to(configs).with_suffix("").as_posix() for path in configs.rglob("*.yaml")
    }
    assert set(shipped_configs()) == found
    settings = (ROOT / "pyproject.toml").read_text()
    for folder in {path.parent.relative_to(ROOT).as_posix() for path in configs.rglob("*.yaml")}:
        assert f'"share/ernie-cmtl/{folder}" = ["{folder}/*.yaml"]' in settings


def test_the_list_names_them() -> None:
    done = call("init", "--list")
    assert done.exit_code == 0
    assert done.stdout.split() == list(shipped_configs())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name the FILE to write"),
        (["new.yaml"], "name --corpus DIR"),
        (["new.yaml", "--from", "quikstart"], "did you mean 'quickstart'?"),
        (["new.yaml", "--from", "quickstart", "--size", "tiny"], "--size and --tokens go with"),
        (["new.yaml", "--from", "finetune/cola", "--corpus", "x"], "has no corpus"),
        (["new.yaml", "--corpus", "nowhere"], "no corpus at nowhere"),
        (["new.yaml", "--corpus", "CORPUS", "--size", "huge"], "accepted are tiny, small"),
        (["new.yaml", "--corpus", "CORPUS", "--tokens", "9"], "is less than 40 steps"),
    ],
)
def test_mistakes_are_one_message_and_write_nothing(
    english: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("init", *(str(english.folder) if word == "CORPUS" else word for word in words))
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "new.yaml").exists()


def test_a_file_is_never_overwritten(english: Corpus, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    with pytest.raises(UserError, match=r"exists; choose another name"):
        init(tmp_path / "mine.yaml", english.folder, None, None, None, None)
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_the_template_is_yaml_whatever_the_folder_is_called(
    english: Corpus, tmp_path: Path
) -> None:
    odd = tmp_path / "a: b #c"
    odd.symlink_to(english.folder)
    init(tmp_path / "mine.yaml", odd, None, None, None, tmp_path / "x: y")
    found = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert (found["corpus"], found["run"]) == (str(odd), str(tmp_path / "x: y"))
