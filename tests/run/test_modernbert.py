"""A run of ModernBERT, broken off or shared by two workers, is the unbroken run; `test_rotary` has
more on runs of it.
"""

from pathlib import Path

import pytest

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.verbs.pretrain import pretrain
from tests.run.test_rotary import part, rotary
from tests.support.runs import Watcher, final_tensors, logged_lines, same_tensors, trace
from tests.support.workers import together

ENCODER = "modernbert_windows"


@pytest.fixture(scope="module")
def whole(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modernbert") / "run"
    pretrain(rotary(english, folder, ENCODER), Watcher())
    return folder


def test_it_learns_and_resumes_bit_for_bit(whole: Path, english: Corpus, tmp_path: Path) -> None:
    start, *_, end = (line["tasks"] for line in logged_lines(whole, "heldout"))
    head = "knowledge_masking/masked_token"
    assert end[head]["loss"] < start[head]["loss"]
    config = rotary(english, tmp_path / "run", ENCODER)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, Watcher(crash_at=7))
    pretrain(config, Watcher())
    assert trace(tmp_path / "run") == trace(whole)
    assert same_tensors(final_tensors(tmp_path / "run"), final_tensors(whole))


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_workers_share_it_alike(
    whole: Path, english: Corpus, tmp_path: Path, sharding: str
) -> None:
    config = rotary(english, tmp_path / "run", ENCODER, sharding=sharding)
    assert len(set(together(part, config, folder=tmp_path, count=2))) == 1
    for (step, loss, norm), (other, other_loss, other_norm) in zip(
        trace(whole), trace(tmp_path / "run"), strict=True
    ):
        assert step == other
        assert other_loss == pytest.approx(loss, rel=1e-5)
        assert other_norm == pytest.approx(norm, rel=1e-4)
