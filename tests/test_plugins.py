"""Classes by name: files of a package, modules from the command line, entry points of installed
packages.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ernie_cmtl.corpus.layers import SpanProvider
from ernie_cmtl.errors import UserError
from ernie_cmtl.plugins import Plugins

A_PROVIDER = """
from ernie_cmtl.corpus.layers import SpanProvider

class {}(SpanProvider):
    def spans(self, text):
        return []
"""


@pytest.fixture
def plugins() -> Plugins[SpanProvider]:
    return Plugins(
        SpanProvider, "layer", "ernie_cmtl.corpus.layers", "ernie_cmtl.layers", "--layer-module"
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that packages can be installed into."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def install(site: Path, package: str, source: str, *entries: str) -> None:
    """Lay a package down as an installer would: its module, its metadata, its entry points."""
    (site / f"{package}.py").write_text(source)
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ernie_cmtl.layers]\n" + "\n".join(entries) + "\n")


@pytest.mark.parametrize("target", ["numbers_of_mine", "numbers_of_mine:Digits"])
def test_an_installed_package_adds_its_entry_points(plugins, site, target):
    install(site, "numbers_of_mine", A_PROVIDER.format("Digits"), f"digits = {target}")
    assert "digits" in plugins.names()
    assert "numbers_of_mine" not in sys.modules, "imported before it was asked for"
    assert plugins.find("digits").__name__ == "Digits"


def test_a_broken_entry_point_breaks_nothing_but_itself(plugins, site):
    install(site, "broken_of_mine", "import a_module_that_is_not_there", "digits = broken_of_mine")
    assert {"digits", "tagged_names"} <= set(plugins.names())
    assert plugins.find("tagged_names").__name__ == "TaggedNames"
    with pytest.raises(
        UserError, match=r"broken_of_mine of package broken_of_mine .*a_module_that_is_not_there"
    ):
        plugins.find("digits")


@pytest.mark.parametrize("target", ["numbers_of_mine:Digit", "numbers_of_mine:number"])
def test_an_entry_point_must_lead_to_a_class(plugins, site, target):
    install(
        site,
        "numbers_of_mine",
        A_PROVIDER.format("Digits") + "\nnumber = 3\n",
        f"digits = {target}",
    )
    with pytest.raises(
        UserError,
        match=f"{target} of package numbers_of_mine is no class derived from SpanProvider",
    ):
        plugins.find("digits")


def test_a_name_with_two_sources_is_refused_with_both(plugins, site):
    install(site, "ours_too", A_PROVIDER.format("Names"), "tagged_names = ours_too")
    with pytest.raises(
        UserError,
        match=r"module ernie_cmtl\.corpus\.layers\.tagged_names and ours_too of package ours_too",
    ):
        plugins.find("tagged_names")
    assert plugins.names().count("tagged_names") == 1
    assert plugins.find("capitalized_names")


def test_a_module_adds_its_class_under_its_own_name(plugins, site):
    (site / "folder").mkdir()
    (site / "folder" / "digits.py").write_text(A_PROVIDER.format("Digits"))
    assert plugins.add_module("folder.digits") == "digits"
    assert plugins.add_module("folder.digits") == "digits"
    assert "digits" in plugins.names()
    assert plugins.find("digits").__name__ == "Digits"


def test_a_module_whose_name_is_taken_is_refused(plugins, site):
    (site / "folder").mkdir()
    (site / "folder" / "tagged_names.py").write_text(A_PROVIDER.format("Names"))
    with pytest.raises(
        UserError, match=r"ernie_cmtl\.corpus\.layers\.tagged_names and module folder\.tagged_names"
    ):
        plugins.add_module("folder.tagged_names")
    assert plugins.find("tagged_names").__name__ == "TaggedNames"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "module digits does not import: ZeroDivisionError"),
        ("raise SystemExit(3)", "module digits does not import: SystemExit"),
        ("def f(:", "module digits does not import: SyntaxError"),
        ("", r"digits\.py must hold exactly one SpanProvider, found 0"),
        (
            A_PROVIDER.format("One") + A_PROVIDER.format("Two"),
            r"digits\.py must hold exactly one SpanProvider, found 2",
        ),
    ],
)
def test_a_broken_module_is_refused_and_not_added(plugins, site, source, message):
    (site / "digits.py").write_text(source)
    with pytest.raises(UserError, match=message):
        plugins.add_module("digits")
    assert "digits" not in plugins.names()


@pytest.mark.parametrize("module", ["not_there_at_all", "", "..up", "a b"])
def test_a_module_that_is_not_there_is_refused(plugins, module):
    with pytest.raises(UserError, match="does not import"):
        plugins.add_module(module)
