"""Time `prepare` against bare `encode_batch` of the same tokenizer on the same text and cores, in
turns in one run.

    python benchmarks/prepare_speed.py TEXT.jsonl... --language en --processes 2 --rounds 3

The tokenizer is trained once before, apart from what is timed, or given. Each turn is a process of
its own. With more than one process each turn also builds with one alone, to tell what the others
are worth.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty

import psutil

from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.request import new_corpus
from ernie_cmtl.corpus.read.documents import read_documents
from ernie_cmtl.corpus.read.inputs import find_inputs
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.tokens.tokenizer import raw_text_tokenizer
from ernie_cmtl.records import Document

BATCH_BYTES = 1 << 20


def encode_bare(
    inputs: list[str], tokenizer: Path, language: str, processes: int
) -> dict[str, float]:
    """Encode all documents with one `encode_batch` after another and do nothing with the result."""
    os.environ["RAYON_NUM_THREADS"] = str(processes)
    bare = raw_text_tokenizer(tokenizer)
    items = (
        item for source in find_inputs(inputs) for item in read_documents(source, ReaderConfig())
    )
    texts = [item.text for item in items if isinstance(item, Document)]
    start = time.perf_counter()
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_BYTES:
            bare.encode_batch(batch, add_special_tokens=False)
            batch, size = [], 0
    if batch:
        bare.encode_batch(batch, add_special_tokens=False)
    return {
        "seconds": time.perf_counter() - start,
        "bytes": sum(len(text.encode()) for text in texts),
    }


def prepare_all(
    inputs: list[str], tokenizer: Path, language: str, processes: int
) -> dict[str, float]:
    """Run prepare with the tokenizer given."""
    with tempfile.TemporaryDirectory() as folder:
        config = PrepareConfig.model_validate({"tokenizer": {"name_or_path": str(tokenizer)}})
        start = time.perf_counter()
        request = new_corpus(inputs, Path(folder) / "corpus", language, config)
        result = build(request, processes, lambda _: None)
        seconds = time.perf_counter() - start
    stages = result["seconds_by_stage"]
    return {
        "seconds": seconds,
        "annotation": stages["annotation"],
        "stages": stages,
        "bytes": result["bytes"],
        "documents": result["documents"],
    }


def _answer(queue, function, arguments) -> None:
    queue.put(function(*arguments))


def in_process(function, *arguments) -> dict:
    """Run a function in a fresh process and return its answer."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_answer, args=(queue, function, arguments))
    process.start()
    peak = 0
    while True:
        try:
            answer = queue.get(timeout=0.2)
            break
        except Empty:
            peak = max(
                peak,
                *(
                    memory(one)
                    for one in [
                        psutil.Process(process.pid),
                        *psutil.Process(process.pid).children(True),
                    ]
                ),
            )
    process.join()
    return answer | {"peak_megabytes_of_a_process": peak >> 20}


def memory(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return process.memory_info().rss
    return 0


def train(options: argparse.Namespace, corpus: Path) -> Path:
    """Build a corpus, tell how long its vocabulary took, and return the folder of its tokenizer."""
    start = time.perf_counter()
    result = build(
        new_corpus(options.inputs, corpus, options.language, PrepareConfig()),
        options.processes,
        lambda _: None,
    )
    training = result["seconds_by_stage"]["tokenizer"]
    print(
        f"first build {time.perf_counter() - start:.2f} s, of it training the vocabulary "
        f"{training:.2f} s"
    )
    return corpus / "tokenizer"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--language", choices=("en", "zh"), required=True)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokenizer", type=Path, help="folder of one that is there already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = options.tokenizer or train(options, Path(folder) / "corpus")
        arguments = (options.inputs, tokenizer, options.language)
        turns = [(encode_bare, options.processes), (prepare_all, options.processes)]
        turns += [(prepare_all, 1)] if options.processes > 1 else []
        rows = []
        for _ in range(options.rounds):
            rows.append([in_process(turn, *arguments, processes) for turn, processes in turns])
            print(
                json.dumps(
                    dict(
                        zip(
                            ("encode_batch", "prepare", "prepare with one process"),
                            rows[-1],
                            strict=False,
                        )
                    )
                ),
                flush=True,
            )
    whole = statistics.median(built["seconds"] / bare["seconds"] for bare, built, *_ in rows)
    annotation = statistics.median(
        built["annotation"] / bare["seconds"] for bare, built, *_ in rows
    )
    speed = statistics.median(
        built["bytes"] / built["annotation"] / options.processes / 1e6 for _, built, *_ in rows
    )
    print(
        f"prepare / encode_batch {whole:.2f}, annotation / encode_batch {annotation:.2f}, "
        f"annotation {speed:.1f} MB/s a core"
    )
    if options.processes > 1:
        ideal = statistics.median(
            alone["seconds"] / built["seconds"] / options.processes for _, built, alone in rows
        )
        print(f"{options.processes} processes reach {ideal:.0%} of {options.processes} x one")


if __name__ == "__main__":
    main()
