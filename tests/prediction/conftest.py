"""A tiny Ernie with a tokenizer of whole words."""

import pytest

from tests.support.finetuning import save_ernie


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a bare encoder; read-only."""
    return save_ernie(tmp_path_factory.mktemp("models") / "ernie")
