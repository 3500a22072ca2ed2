"""A run for reports."""

from pathlib import Path

import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import Watcher, tiny_settings

pytest.importorskip("altair")
pytest.importorskip("vl_convert")


@pytest.fixture(scope="session")
def finished(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two stages and three tasks."""
    config = RunConfig.model_validate(
        tiny_settings(english, tmp_path_factory.mktemp("report") / "tiny")
    )
    pretrain(config, Watcher())
    return config.run
