"""Nothing in the code can run what a file says: no pickle, no evaluated text, no remote code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path
    for package in ("ernie_cmtl", "pretrain_tasks")
    for path in sorted((ROOT / package).rglob("*.py"))
]
FILES.append(ROOT / "launch.py")

PICKLING_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
}
FORBIDDEN_CALLS = {
    *("torch.load", "torch.save", "torch.serialization.load", "torch.hub.load", "torch.jit.load"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.unsafe_load_all"),
    *("eval", "exec", "builtins.eval", "builtins.exec", "os.system", "os.popen"),
}
UNSAFE_UNLESS_FALSE = {"allow_pickle", "find_unused_parameters", "shell", "trust_remote_code"}


def full_names(tree: ast.AST) -> dict[str, str]:
    """Return what each imported name of a file stands for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    return names


def full_name(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, names)}.{node.attr}"
    return "?"


def offences(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    names = full_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
            yield from (
                f"import {name}" for name in modules if name.partition(".")[0] in PICKLING_MODULES
            )
        elif isinstance(node, ast.Name | ast.Attribute):
            if (name := full_name(node, names)) in FORBIDDEN_CALLS:
                yield name
        elif isinstance(node, ast.keyword) and node.arg:
            allowed = isinstance(node.value, ast.Constant) and node.value.value is False
            if node.arg in UNSAFE_UNLESS_FALSE and not allowed:
                yield f"{node.arg}="
        elif isinstance(node, ast.Constant) and node.value in UNSAFE_UNLESS_FALSE:
            yield repr(node.value)


@pytest.mark.parametrize(
    ("source", "offence"),
    [
        ("import pickle", "import pickle"),
        ("def f():\n    from cloudpickle import loads", "import cloudpickle"),
        ("import torch\ntorch.load(path)", "torch.load"),
        ("import torch as t\nt.load(path)", "torch.load"),
        ("from torch import load as read\nread(path)", "torch.load"),
        ("eval('1')", "eval"),
        ("run = exec", "exec"),
        ("import yaml\nyaml.load(text, Loader=yaml.Loader)", "yaml.load"),
        ("from yaml import unsafe_load\nunsafe_load(text)", "yaml.unsafe_load"),
        ("AutoModel.from_pretrained(path, trust_remote_code=True)", "trust_remote_code="),
        ("options = {'trust_remote_code': True}", "'trust_remote_code'"),
        ("np.load(path, allow_pickle=True)", "allow_pickle="),
        ("np.load(path, allow_pickle=flag)", "allow_pickle="),
        ("DistributedDataParallel(model, find_unused_parameters=True)", "find_unused_parameters="),
    ],
)
def test_the_search_sees_each_kind_of_offence(source: str, offence: str) -> None:
    assert offence in set(offences(source))


def test_the_search_leaves_harmless_code_alone() -> None:
    harmless = (
        "import yaml, numpy as np\nmodel.eval()\nyaml.safe_load(text)\nnp.load(path, "
        "allow_pickle=False)\njson.load(stream)"
    )
    assert not list(offences(harmless))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_can_be_made_to_run_what_it_reads(path: Path) -> None:
    assert not list(offences(path.read_text(encoding="utf-8")))
