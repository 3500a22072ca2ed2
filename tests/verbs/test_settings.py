"""The list of settings: complete, each with a meaning, and the page of the docs is what it says."""

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.settings_reference import settings_of
from ernie_cmtl.verbs.settings import settings, settings_page
from tests.support.command_line import ROOT, call


class Inner(BaseModel):
    size: int = Field(3, ge=1, lt=9)
    """How large."""


class Base(BaseModel):
    inherited: bool = True
    """From the base."""


class Outer(Base):
    needed: Path
    """Where."""
    kind: Literal["a", "b"] = "a"
    """Which."""
    inner: Inner = Inner()
    maybe: Inner | None = None
    """Perhaps."""
    by_name: dict[str, Inner] = {}
    rows: list[Inner] = []
    rates: tuple[float, ...] = (0.5,)
    """Some."""


def test_settings_are_read_off_the_models() -> None:
    found = {one.name: (one.kind, one.default, one.meaning) for one in settings_of(Outer, "x")}
    size = ("whole number, at least 1, below 9", "3", "How large.")
    assert found == {
        "x.inherited": ("true or false", "true", "From the base."),
        "x.needed": ("path", "required", "Where."),
        "x.kind": ("a or b", "a", "Which."),
        "x.inner.size": size,
        "x.maybe": ("settings below or none", "none", "Perhaps."),
        "x.maybe.size": size,
        "x.by_name.NAME.size": size,
        "x.rows.N.size": size,
        "x.rates": ("list of number", "[0.5]", "Some."),
    }


def test_every_setting_has_a_meaning() -> None:
    lacking = [
        one["name"] for listed in settings().values() for one in listed if not one["meaning"]
    ]
    assert lacking == []


def test_every_key_of_a_run_is_listed() -> None:
    names = {one["name"].split(".")[0] for one in next(iter(settings().values()))}
    assert names == set(RunConfig.model_fields)


def test_the_page_of_the_docs_is_what_the_program_says() -> None:
    written = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert written == settings_page(settings()) + "\n", (
        "ernie-cmtl settings --markdown > docs/settings.md"
    )


def test_a_prefix_shows_a_part() -> None:
    done = call("settings", "training.heldout")
    assert done.exit_code == 0
    assert "training.heldout.every" in done.stdout
    assert "optimizer" not in done.stdout
    found: dict[str, Any] = settings("sharing.strength")
    assert [*found] == ["sharing.mode soft"]


def test_a_prefix_that_nothing_has_is_refused() -> None:
    with pytest.raises(UserError, match=r"no setting begins with 'optimiser'; did you mean 'opt"):
        settings("optimiser")
