"""Annotation in worker processes, with the answers in the order of the questions."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import forkserver
from pathlib import Path
from typing import TypeVar

import numpy as np

from ernie_cmtl.corpus.build.annotator import Annotator
from ernie_cmtl.corpus.layers import TextLayer
from ernie_cmtl.records import AnnotatedText, IntArray, Language

Item = TypeVar("Item")
Question = TypeVar("Question")
Answer = TypeVar("Answer")

_annotator: Callable[[], Annotator] | None = None


def _start_worker(
    tokenizer_folder: Path, language: Language, providers: Mapping[str, TextLayer]
) -> None:
    # Loaded with the first texts: processes start while the tokenizer is still being made.
    global _annotator
    _annotator = cache(partial(_load_annotator, tokenizer_folder, language, providers))


def _start_process(
    tokenizer_folder: Path, language: Language, providers: Mapping[str, TextLayer]
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _start_worker(tokenizer_folder, language, providers)


def _end_with_parent() -> None:
    # The executor lets its processes wait for ever for questions of one that was killed. The
    # process that they are forked from stays as long as they do, so only this tells.
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _load_annotator(
    tokenizer_folder: Path, language: Language, providers: Mapping[str, TextLayer]
) -> Annotator:
    # One thread a process: the processes are the parallelism.
    os.environ["RAYON_NUM_THREADS"] = "1"
    return Annotator.load(tokenizer_folder, language, providers)


def annotate_texts(texts: list[str]) -> list[AnnotatedText]:
    """Annotate documents in this process, which must have been started for it."""
    assert _annotator is not None
    # Half the bytes on the way back to the writer.
    return [
        replace(text, token_ids=text.token_ids.astype(np.int32))
        for text in _annotator().annotate(texts)
    ]


def token_starts(texts: list[str]) -> list[IntArray]:
    """Return the first character of each token of texts, in this process, which must have been
    started for it; int64 [T] each.
    """
    assert _annotator is not None
    return _annotator().token_starts(texts)


@dataclass
class Processes:
    """Worker processes that answer in the order of the questions; none means that the work is done
    here.
    """

    pool: ProcessPoolExecutor | None
    processes: int
    submitting: ThreadPoolExecutor | None = None
    """A thread that waits until a process is there to answer, since what it imports takes a
    while.
    """

    def map_with_input(
        self,
        function: Callable[[Question], Answer],
        items: Iterable[Item],
        question: Callable[[Item], Question],
    ) -> Iterator[tuple[Item, Answer]]:
        """Yield each item with the answer to its question, a few ahead and no more, so that memory
        stays bounded.
        """
        if not self.pool:
            for item in items:
                yield item, function(question(item))
            return
        waiting: deque[tuple[Item, Future[Answer]]] = deque()
        for item in items:
            waiting.append((item, self.pool.submit(function, question(item))))
            if len(waiting) > 2 * self.processes:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()

    def start(
        self, function: Callable[[Question], Answer], items: Sequence[Question]
    ) -> Callable[[], list[Answer]]:
        """Begin to answer a few questions, all at once, and return what waits for the answers;
        here, it then answers them.
        """
        if not (pool := self.pool) or not self.submitting:
            return lambda: [function(item) for item in items]
        begun = self.submitting.submit(lambda: [pool.submit(function, item) for item in items])
        return lambda: [future.result() for future in begun.result()]

    def map(
        self, function: Callable[[Question], Answer], items: Iterable[Question]
    ) -> Iterator[Answer]:
        """Yield the answers in order."""
        return (answer for _, answer in self.map_with_input(function, items, lambda item: item))


@contextmanager
def annotation_processes(
    processes: int, tokenizer_folder: Path, language: Language, providers: Mapping[str, TextLayer]
) -> Iterator[Processes]:
    """Start processes that hold the tokenizer of a folder once it is there; 0 or 1: this process
    alone.
    """
    if processes <= 1:
        _start_worker(tokenizer_folder, language, providers)
        yield Processes(None, 1)
        return
    # What they import is imported once, beside the work here, by a process without threads that
    # they are forked from.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    forkserver.ensure_running()
    given = (tokenizer_folder, language, providers)
    with (
        ProcessPoolExecutor(processes, context, _start_process, given) as pool,
        ThreadPoolExecutor(1) as submitting,
    ):
        yield Processes(pool, processes, submitting)
