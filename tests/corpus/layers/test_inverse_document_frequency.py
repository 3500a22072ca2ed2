"""In how few documents of the training split a token stands, counted again in the text."""

from math import log
from pathlib import Path

import pytest

from ernie_cmtl.corpus.store.corpus import Corpus
from tests.support.corpora import build_corpus, sample_texts
from tests.support.counted_documents import documents_of


@pytest.mark.parametrize(("language", "steps"), [("en", 12), ("zh", 12), ("en", 100)])
def test_documents_of_the_training_split_are_counted(
    tmp_path: Path, language: str, steps: int
) -> None:
    layers = {"inverse_document_frequency": {"steps": steps}}
    build_corpus(tmp_path, sample_texts(language, 24), language, shard_bytes=10_000, layers=layers)
    corpus = Corpus(tmp_path / "corpus")
    assert len(corpus.manifest.shards) > 1
    train, heldout = documents_of(corpus.folder, "inverse_document_frequency")
    assert heldout
    sets = [set(tokens) for tokens, _ in train]
    seen: set[int] = set()
    for tokens, found in train + heldout:
        holding = [sum(token in own for own in sets) for token in tokens]
        assert found == [
            min(255, round(steps * log((1 + len(train)) / (1 + count)))) for count in holding
        ]
        seen |= {*found}
    # A token of one document of 18 has ln (19 / 2); the finest steps end at one byte.
    assert min(seen) == 0
    assert 27 in seen if steps == 12 else max(seen) == 255
    assert corpus.profile.layer_options["inverse_document_frequency"] == {"steps": steps}
