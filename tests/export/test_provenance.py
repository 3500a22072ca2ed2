"""The card says where a model comes from only where that is certain."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from ernie_cmtl.errors import UserError
from ernie_cmtl.export.provenance import provenance


def test_a_base_model_is_named_where_it_came_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    commit = "0" * 40
    cached = tmp_path / "cache" / "models--acme--bert"
    (cached / "snapshots" / commit).mkdir(parents=True)
    (cached / "snapshots" / commit / "config.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)

    def base(started_from: str | None) -> str | None:
        return provenance("en", started_from, None, ()).base_model

    assert base("acme/bert") == "acme/bert"
    # A folder that is not there any more looks like a name, too.
    assert base("exports/mine") is None
    assert base("/data/exports/mine") is None
    assert base(None) is None
    (tmp_path / "acme" / "bert").mkdir(parents=True)
    assert base("acme/bert") is None


def test_a_license_and_data_sets_are_names() -> None:
    found = provenance("zh", None, "cc-by-4.0", ["acme/texts", "squad"])
    assert (found.language, found.license, found.datasets) == (
        "zh",
        "cc-by-4.0",
        ("acme/texts", "squad"),
    )
    with pytest.raises(UserError, match="--license 'all rights reserved' is no name"):
        provenance("en", None, "all rights reserved", ())
    with pytest.raises(
        UserError, match=r"--dataset '\.\./texts' is no name of the Hub, such as ORG"
    ):
        provenance("en", None, None, ["../texts"])
