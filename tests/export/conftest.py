"""What the tests of exports make of the run of their own file, `run_folder`."""

from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.run.open import open_run
from ernie_cmtl.verbs.export import export_run
from tests.support.runs import TINY_TASKS


@pytest.fixture(scope="module")
def trained(run_folder: Path) -> MultiTaskModel:
    """The model of the run."""
    return open_run(run_folder)[1].train(False)


@pytest.fixture(scope="module")
def exports(run_folder: Path) -> dict[str, dict[str, Any]]:
    """Task -> result of the export of its view."""
    return {
        task: export_run(run_folder, run_folder.parent / task, None, task=task)
        for task in TINY_TASKS
    }
