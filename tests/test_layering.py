"""Imports run one way: the table below is the design, the tests read every import of the code
against it.
"""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest

from tests.support.imports import FILES, PACKAGES, ROOT, imported, imports_of

LONGEST_FILE, LONGEST_FUNCTION = 300, 50

GROUND = {
    *("errors", "atomic_files", "foreign_files", "parent_process", "printable", "randomness"),
    "records",
    "redaction",
    "sole_writer",
    "temporary_folder",
}
CONTRACT = GROUND | {"task", "task_instance"}
HEADS = CONTRACT | {"head_kinds"}
TRAINED = HEADS | {"data", "model", "model.sharing", "pretrained", "scheduling"}
JUDGED = TRAINED | {"training"}
SETTINGS = JUDGED | {"settings"}
FAMILY = HEADS | {"model", "model.kernels"}
RUN = SETTINGS | {
    "config",
    "corpus.store",
    "corpus.read",
    "corpus.tokens",
    "evaluation",
    "task_registry",
}
VERB = RUN | {
    "plugins",
    "corpus.build",
    "corpus.layers",
    "export",
    "finetuning",
    "report",
    "shipped_configs",
    "charts",
    "settings_reference",
    "comparison",
    "prediction",
    "run",
    "task_checks",
}

MAY_IMPORT: dict[str, set[str]] = {
    "pretrained": {"errors", "foreign_files"},
    "redaction": set(),
    "printable": set(),
    "errors": {"redaction"},
    "atomic_files": {"errors", "records"},
    "foreign_files": {"errors", "records"},
    "sole_writer": {"errors", "atomic_files", "printable"},
    "shipped_configs": {"errors"},
    "settings_reference": set(),
    "__main__": {"cli"},
    "parent_process": set(),
    "temporary_folder": set(),
    "randomness": set(),
    "records": set(),
    "settings": {"errors", "redaction"},
    "plugins": {"errors"},
    "task": {"records", "errors"},
    "task_instance": {"records", "task"},
    "pretrain_tasks": {"errors", "records", "task", "data"},
    "task_registry": {"errors", "task", "task_instance", "records", "plugins"},
    "corpus.sample": GROUND,
    "corpus.read": GROUND,
    "corpus.tokens": GROUND | {"pretrained"},
    "corpus.store": GROUND | {"corpus.tokens"},
    "corpus.layers": GROUND | {"plugins", "corpus.tokens", "corpus.store"},
    "corpus.build": GROUND | {"corpus.read", "corpus.tokens", "corpus.store", "corpus.layers"},
    "model.kernels": GROUND,
    "head_kinds": CONTRACT | {"plugins", "model.kernels"},
    "data": HEADS,
    "model": HEADS | {"plugins", "pretrained", "model.kernels", "model.sharing"},
    "model.families": FAMILY,
    "model.sharing": GROUND | {"plugins", "settings"},
    "scheduling": GROUND,
    "training": TRAINED | {"plugins", "settings"},
    "evaluation": JUDGED,
    "task_checks": HEADS | {"data", "corpus.store"},
    "export": JUDGED | {"plugins", "settings", "corpus.read", "evaluation"},
    "comparison": GROUND | {"evaluation", "charts", "pictures"},
    "prediction": GROUND | {"corpus.read", "finetuning", "model", "pretrained"},
    "finetuning": GROUND | {"corpus.read", "model", "pretrained", "settings"},
    "config": SETTINGS,
    "run": RUN,
    "charts": {"errors"},
    "pictures": {"charts"},
    "report": RUN | {"run", "charts", "pictures", "comparison", "finetuning"},
    "verbs": VERB,
    "cli": VERB | {"verbs"},
    "launch": {"cli"},
}
"""Part -> the other parts of ours that it may import."""

SHELVES = {part for part in MAY_IMPORT if "." in part}
HELPERS_OF_TASKS = {
    f"ernie_cmtl.data.{name}"
    for name in ("masking", "masking_units", "passages", "sequences", "windows")
}


def part_of(module: str) -> str | None:
    """Return the part of ours that a module belongs to; None for other people's modules and our
    bare top package.
    """
    first, *rest = module.split(".")
    if first != "ernie_cmtl":
        return first if first in (*PACKAGES, "launch") else None
    shelf = ".".join(rest[:2])
    return shelf if shelf in SHELVES else rest[0] if rest else None


def imported_parts(part: str) -> dict[str, set[str]]:
    """Return the parts that a part imports, each with the modules that do so."""
    found: dict[str, set[str]] = {}
    for module in FILES:
        if part_of(module) == part:
            for other in {part_of(name) for name in imports_of(module)} - {part, None}:
                found.setdefault(str(other), set()).add(module)
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn as nn", {"torch.nn"}),
        ("def f():\n    from ernie_cmtl.cli import app", {"ernie_cmtl.cli.app"}),
        ("if TYPE_CHECKING:\n    from ernie_cmtl.records import Batch", {"ernie_cmtl.records"}),
        ("from ernie_cmtl import records, __version__", {"ernie_cmtl.records", "ernie_cmtl"}),
        ("from .windows import token_windows", {"ernie_cmtl.data.windows"}),
        ("from .. import task", {"ernie_cmtl.task"}),
        ("from ..model import encoder", {"ernie_cmtl.model.encoder"}),
    ],
)
def test_the_reader_finds_imports_of_every_form(source: str, expected: set[str]) -> None:
    assert set(imported(source, "ernie_cmtl.data.loader")) == expected


def test_the_reader_resolves_relative_imports_of_a_package() -> None:
    assert set(imported("from .windows import token_windows", "ernie_cmtl.data", True)) == {
        "ernie_cmtl.data.windows"
    }


def test_the_table_has_no_cycle() -> None:
    assert len(list(TopologicalSorter(MAY_IMPORT).static_order())) == len(MAY_IMPORT)


def test_every_part_of_the_code_stands_in_the_table() -> None:
    # The package around the shelves of the corpus holds nothing but a docstring.
    assert {part_of(module) for module in FILES if module != "ernie_cmtl.corpus"} - {None} == set(
        MAY_IMPORT
    )
    assert not imports_of("ernie_cmtl.corpus")


def test_no_import_goes_around_in_a_circle_not_even_a_lazy_one() -> None:
    graph = {
        module: {name for name in imports_of(module) if name in FILES} - {module}
        for module in FILES
    }
    # A package and its modules: what imports one of them also runs the package.
    assert list(TopologicalSorter(graph).static_order())


def test_no_two_folders_import_each_other() -> None:
    def folder_of(module: str) -> str:
        folder = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
        # Each file beside the folders stands for itself.
        return module if folder == "ernie_cmtl" else folder

    arrows = {
        (folder_of(module), folder_of(name))
        for module in FILES
        for name in imports_of(module)
        if name in FILES
    }
    assert not {pair for pair in arrows if pair[0] != pair[1] and pair[::-1] in arrows}


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_the_table_allows(part: str) -> None:
    forbidden = {
        other: modules
        for other, modules in imported_parts(part).items()
        if other not in MAY_IMPORT[part]
    }
    assert not forbidden, f"{part} may import {sorted(MAY_IMPORT[part])}, but imports {forbidden}"


def test_the_top_package_imports_nothing_of_ours() -> None:
    assert not {name for name in imports_of("ernie_cmtl") if part_of(name)}


def test_records_know_of_numpy_and_the_standard_library_alone() -> None:
    roots = {name.partition(".")[0] for name in imports_of("ernie_cmtl.records")}
    assert roots - sys.stdlib_module_names == {"numpy"}


def test_nothing_but_the_launcher_imports_the_command_line() -> None:
    users = {
        module
        for module in FILES
        if part_of(module) != "cli" and "cli" in {part_of(name) for name in imports_of(module)}
    }
    assert users == {"launch", "ernie_cmtl.__main__"}


@pytest.mark.parametrize(
    "module", [module for module in FILES if module.startswith("pretrain_tasks.")]
)
def test_a_task_imports_array_helpers_and_no_other_task(module: str) -> None:
    ours = {name for name in imports_of(module) if part_of(name)}
    # A name that begins with an underscore is no task but what some share.
    shared = {name for name in ours if name.startswith("pretrain_tasks._")}
    assert ours - shared <= HELPERS_OF_TASKS | {
        "ernie_cmtl.errors",
        "ernie_cmtl.records",
        "ernie_cmtl.task",
    }


@pytest.mark.parametrize(
    "module",
    [
        module
        for module in FILES
        if (part_of(module) or "").startswith(("corpus", "scheduling", *GROUND))
    ],
)
def test_what_stands_before_the_model_does_not_import_torch(module: str) -> None:
    assert not {
        name for name in imports_of(module) if name.partition(".")[0] in ("torch", "accelerate")
    }


def test_only_plugins_are_imported_by_a_computed_name() -> None:
    """What is imported by a computed name, no table of imports sees."""
    dynamic = {
        module
        for module in FILES
        if "importlib" in imports_of(module) or "__import__" in FILES[module].read_text("utf-8")
    }
    assert dynamic == {"ernie_cmtl.plugins"}


def test_corpus_scheduling_and_the_help_of_the_verbs_load_no_torch() -> None:
    """Others' packages may import torch for us, so this is looked up in a fresh process."""
    modules = [
        module
        for module in FILES
        if module.startswith(("ernie_cmtl.corpus", "ernie_cmtl.scheduling"))
    ] + ["ernie_cmtl.cli.app"]
    script = (
        f"import sys, {', '.join(modules)}\nprint(sorted(name for name in ('torch', 'accelerate') "
        "if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


@pytest.mark.parametrize("module", FILES)
def test_no_file_is_longer_than_a_few_screens_and_no_function_than_one(module: str) -> None:
    text = FILES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    # The body alone: the signature of a verb lists its options, one a line.
    lengths = {node.name: (node.end_lineno or 0) - node.body[0].lineno + 1 for node in functions}
    assert not {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION}
