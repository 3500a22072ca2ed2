"""Time `prepare` on many short documents, with all default layers, each size in a process of its
own.

    python benchmarks/short_documents.py TEXT.jsonl... --documents 100000 300000 1000000

The documents are sentences of the text, shuffled. Where there are too few, words of them are
replaced by words drawn from the text, so that no document repeats another. `cpu_seconds` are those
of one process, which other work on the machine does not change much.

    python benchmarks/short_documents.py TEXT.jsonl... --documents 40000 --sentences 2 --compare

tells how often the layer `retrieved` holds what a search over every document finds.
"""

import argparse
import json
import re
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import bm25s
import numpy as np
import sentencex
from prepare_speed import in_process

from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.request import new_corpus
from ernie_cmtl.corpus.layers.retrieved import RetrievedOptions
from ernie_cmtl.corpus.store.manifest import Shard

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n+")
_REPLACED = 0.4
"""Part of the words of a sentence that are replaced when it is used again."""


def sentences_of(files: list[str]) -> list[str]:
    """Return the distinct sentences of 20 to 200 characters."""
    texts = (
        json.loads(line)["text"]
        for file in files
        for line in Path(file).read_text(encoding="utf-8").splitlines()
    )
    found = (" ".join(piece.split()) for text in texts for piece in _SENTENCE.split(text))
    kept = dict.fromkeys(piece for piece in found if 20 <= len(piece) <= 200 and piece[-1] in ".!?")
    return [piece for piece in kept if len(sentencex.segment("en", piece)) == 1]


def short_documents(sentences: list[str], count: int, each: int, seed: int = 0) -> Iterator[str]:
    """Yield documents of `each` sentences; past the last sentence, altered ones."""
    rng = np.random.default_rng(seed)
    words = np.array(
        [
            word
            for piece in sentences[::20]
            for word in piece.split()
            if word.isalpha() and word.islower()
        ]
    )
    made = 0
    altered = False
    while made < count:
        order = rng.permutation(len(sentences))
        for first in range(0, len(order) - each + 1, each):
            pieces = [sentences[place] for place in order[first : first + each]]
            text = " ".join(pieces).split()
            if altered:
                # The last word keeps the full stop.
                chosen = np.flatnonzero(rng.random(len(text) - 1) < _REPLACED).tolist()
                for place, word in zip(chosen, rng.choice(words, len(chosen)), strict=True):
                    text[place] = str(word)
            yield " ".join(text)
            made += 1
            if made == count:
                return
        altered = True


def write_documents(path: Path, sentences: list[str], count: int, each: int) -> int:
    """Write documents as JSON Lines and return their bytes."""
    with path.open("w", encoding="utf-8") as stream:
        for text in short_documents(sentences, count, each):
            stream.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    return path.stat().st_size


def prepare_all(path: Path, output: Path, processes: int) -> dict:
    """Run prepare with its defaults."""
    start, cpu = time.perf_counter(), time.process_time()
    request = new_corpus([str(path)], output, "en", PrepareConfig())
    result = build(request, processes, lambda _: None)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "stages": result["seconds_by_stage"],
        "documents": result["documents"],
        "tokens": result["tokens"],
        "bytes": result["bytes"],
    }


def compare(shard: Path, sample: int) -> dict:
    """Compare the layer `retrieved` of a shard with a search that scores every training document
    for each of some.
    """
    count = Shard.model_validate_json((shard / "shard.json").read_bytes()).train.documents
    tokens, sentences, documents, layer = (
        np.load(shard / f"{name}.npy")
        for name in ("token_ids", "sentence_offsets", "document_offsets", "retrieved")
    )
    options = RetrievedOptions()
    firsts = [documents[place] for place in range(count + 1)]
    passages = [
        tokens[sentences[first + 1] : sentences[last]][: options.passage_tokens]
        for first, last in pairwise(firsts)
    ]
    terms = np.unique(np.concatenate(passages))
    numbers = np.zeros(int(tokens.max()) + 1, dtype=np.int64)
    numbers[terms] = np.arange(1, len(terms) + 1)
    index = bm25s.BM25()
    # 0: a term that every passage holds, as in the layer.
    index.index(
        [[0, *numbers[passage].tolist()] for passage in passages],
        create_empty_token=False,
        show_progress=False,
    )
    same = []
    for place in np.random.default_rng(0).choice(count, min(sample, count), replace=False).tolist():
        first = firsts[place]
        query = numbers[tokens[sentences[first] : sentences[first + 1]][: options.query_tokens]]
        scores = index.get_scores_from_ids(query[query > 0].tolist())
        scores[place] = 0
        turns = np.roll(np.arange(count), -place)
        ranked = turns[np.argsort(-scores[turns], kind="stable")][: options.neighbours]
        found = layer[place][layer[place] != 0] + place
        expected = ranked[scores[ranked] > 0].tolist()
        same.append((found.tolist()[:1] == expected[:1], found.tolist() == expected))
    first_one, every_one = np.mean(same, axis=0).tolist()
    return {"best the same": first_one, "all the same": every_one}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--sentences", type=int, default=1, help="in each document")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--compare", type=int, nargs="?", const=1000, help="documents")
    options = parser.parse_args()
    sentences = sentences_of(options.inputs)
    print(f"{len(sentences):,} distinct sentences", flush=True)
    for count in options.documents:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "documents.jsonl"
            write_documents(path, sentences, count, options.sentences)
            corpus = Path(folder) / "corpus"
            found = in_process(prepare_all, path, corpus, options.processes)
            if options.compare:
                found |= compare(corpus / "shards" / "00000", options.compare)
        print(json.dumps({"documents asked": count} | found), flush=True)


if __name__ == "__main__":
    main()
