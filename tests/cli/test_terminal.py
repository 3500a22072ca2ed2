"""What others have written reaches the terminal as text: nothing in it is obeyed."""

import ast
import io
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.text import Text

from ernie_cmtl.cli.progress import progress_bar
from ernie_cmtl.cli.shared import print_result
from ernie_cmtl.cli.tables import Table
from ernie_cmtl.cli.terminal import Terminal, show_warnings, styled
from ernie_cmtl.errors import UserError
from ernie_cmtl.printable import json_line, printable
from ernie_cmtl.sole_writer import sole_writer
from tests.support.command_line import RUN, Line, call, result_of
from tests.support.corpora import sample_texts
from tests.support.imports import FILES, imports_of

HOSTILE = "a[/b][red]\x1b]0;title\x07\x9b31m\r\t\x00:smile:\u202ename\udcff"
SHOWN = r"a[/b][red]\x1b]0;title\x07\x9b31m\r\t\x00:smile:\u202ename\xff"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def terminal(**options: Any) -> Terminal:
    return Terminal(file=io.StringIO(), width=200, **options)


def written(shown: Terminal) -> str:
    return shown.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize(
    "shown",
    [HOSTILE, styled(HOSTILE, "red"), Text(HOSTILE.replace("\r", "").replace("\x07", ""))],
    ids=["str", "styled", "text"],
)
def test_text_stands_as_it_is_with_escapes_for_what_terminals_obey(shown: str | Text) -> None:
    console = terminal()
    console.show(shown)
    assert not OBEYED.search(written(console))
    assert written(console).startswith(r"a[/b][red]\x1b]0;title")
    assert written(console).rstrip().endswith(r":smile:\u202ename\xff")


def test_every_part_of_a_table_is_text() -> None:
    table = Table(HOSTILE, "value", title=HOSTILE, caption=HOSTILE)
    table.add_row(HOSTILE, styled(HOSTILE, "bold"))
    for piped in (True, False):
        console = terminal(force_terminal=not piped, color_system=None)
        console.show(table)
        assert written(console).count(SHOWN) == 5
        assert not OBEYED.search(written(console))


def test_bars_and_messages_and_warnings_are_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    console = terminal(force_terminal=True, color_system=None, legacy_windows=False)
    with progress_bar(console) as progress:
        progress.add_task(HOSTILE, total=2, count="1 of 2", rate="3 a second")
    assert SHOWN in written(console)
    said = terminal()
    monkeypatch.setattr("ernie_cmtl.cli.terminal.console", said)
    show_warnings()
    # What pytest keeps of the log it cannot pass on with such names.
    monkeypatch.setattr(logging.getLogger("ernie_cmtl"), "propagate", False)
    logging.getLogger("ernie_cmtl.data.streams").warning("lacks %s", HOSTILE)
    said.say(HOSTILE)
    assert written(said).splitlines() == [f"lacks {SHOWN}", SHOWN]


def test_json_reads_back_as_the_same_and_holds_nothing_to_obey(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_result({HOSTILE: [HOSTILE]}, True, lambda: "")
    printed = capsys.readouterr().out
    assert not OBEYED.search(printed)
    assert json.loads(printed) == {HOSTILE: [HOSTILE]}
    # Some programs call it UTF-8, others utf-8.
    print_result("名字", True, lambda: "")
    assert capsys.readouterr().out == '"名字"\n'
    assert json.loads(json_line("é中\U0001f600", ascii_only=True)) == "é中\U0001f600"
    assert json_line("é中") == '"é中"'


def test_a_terminal_that_knows_few_letters_gets_escapes() -> None:
    console = Terminal(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    console.say("0.5 ± 0.1 中")
    assert console.file.buffer.getvalue() == b"0.5 \\xb1 0.1 \\u4e2d\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["plain", "中文 é ½ \U0001f600 [x]", ""])
def test_what_is_harmless_stays(text: str) -> None:
    assert printable(text) == text


def test_there_is_one_door() -> None:
    """Consoles, tables and markup of rich, and bare prints, stand in one file each."""
    users = {
        name: {module for module in FILES if name in imports_of(module)}
        for name in ("rich.table", "rich.markup")
    }
    # Progress takes from there how a column is broken.
    assert users["rich.table"] == {"ernie_cmtl.cli.tables", "ernie_cmtl.cli.progress"}
    assert not users["rich.markup"]
    prints, consoles = set(), set()
    for module, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id == "print":
                    prints.add(module)
                if node.func.id == "Console":
                    consoles.add(module)
    assert (prints, consoles) == (
        {"ernie_cmtl.cli.shared", "ernie_cmtl.export.fill_mask"},
        set(),
    )


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text and labelled rows whose names, keys and columns are hostile, made into a corpus."""
    folder = tmp_path_factory.mktemp("foreign")
    inputs = Path(os.fsdecode(os.fsencode(folder) + b"/te\xffxt[/b]\x1b[31m"))
    inputs.mkdir(parents=True)
    rows = [{"text": text} for text in sample_texts("en", 12)] + [{"te\x1b[2Jxt": 1}]
    (inputs / "a\x1b]0;x\x07.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return inputs


def test_file_names_of_any_bytes_pass_through_prepare(foreign: Path, tmp_path: Path) -> None:
    output = tmp_path / "out[/b]"
    words = ("--language", "en", "--vocabulary-size", "600", "--processes", "1")
    done = call("prepare", "--input", foreign, "--output", output, *words)
    assert done.exit_code == 0, done.stderr
    assert str(output) in done.stdout
    assert not OBEYED.search(done.stdout + done.stderr)
    rejected = [json.loads(line) for line in (output / "rejects.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rejected] == [str(next(foreign.iterdir()))]
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    assert ascii(str(foreign)).strip("'") in ascii(manifest)
    twice = call("prepare", "--corpus", output, "--input", f"more={foreign}")
    assert (twice.exit_code, OBEYED.search(twice.stderr)) == (2, None)
    more = tmp_path / "mo\udcffre.txt"
    more.write_text(sample_texts("en", 20)[-1])
    again = result_of("prepare", "--corpus", output, "--input", f"more={more}")
    assert again["sources"]["more"]["documents"] == 1
    sample = call("inspect", "knowledge_masking", "--corpus", output)
    assert sample.exit_code == 0
    assert not OBEYED.search(sample.stdout)


def test_names_that_other_programs_do_not_open_are_refused_in_one_message(
    line: Line, foreign: Path, tmp_path: Path
) -> None:
    for name in ("corpus\udcff", "corpus\x1b[31m"):
        with (
            pytest.raises(UserError, match="take another name"),
            sole_writer(foreign.parent / name, ()),
        ):
            pass
    settings = RUN | {"run": str(tmp_path / "run"), "corpus": str(line.corpus)}
    path = foreign.parent / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    try:
        assert call("plan", path).exit_code == 0
        done = call("plan", path, "--corpus", foreign / "absent")
        assert (done.exit_code, "Traceback" in done.stderr) == (2, False)
        assert r"te\xffxt[/b]\x1b[31m" in done.stderr
        assert not OBEYED.search(done.stderr)
    finally:
        path.unlink()
