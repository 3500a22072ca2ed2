"""A corpus whose sentences are all different, so that a segment is found by its tokens."""

import pytest

from ernie_cmtl.corpus.store.corpus import Corpus
from tests.support.places import build


@pytest.fixture(scope="session")
def distinct(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Documents of one sentence, of a few and of many; one is longer than all the others
    together.
    """
    return build(
        tmp_path_factory.mktemp("distinct"), [1, 2, 900, *[3] * 10, *range(4, 44), *[1] * 10, 60]
    )


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Documents enough that a rule of form cannot be learnt by heart."""
    return build(tmp_path_factory.mktemp("many"), [2, 5, 9, 14, 30] * 160)
