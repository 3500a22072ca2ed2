"""Annotation in worker processes, with the answers in the order of the questions."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import numpy as np

from ernie_cmtl.corpus.annotate import Annotator
from ernie_cmtl.corpus.layers import TextLayer
from ernie_cmtl.records import AnnotatedText, Language

Item = TypeVar("Item")
Question = TypeVar("Question")
Answer = TypeVar("Answer")

_annotator: Callable[[], Annotator] | None = None


def _start_worker(tokenizer_folder: Path, language: Language, providers: Mapping[str, TextLayer]) -> None:
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # Loaded with the first texts: processes start while the tokenizer is still being made.
    global _annotator
    _annotator = cache(partial(_load_annotator, tokenizer_folder, language, providers))


def _end_with(parent: BaseProcess) -> None:
    # The executor's own processes wait for ever for one that was killed.
    parent.join()
    os._exit(1)


def _load_annotator(tokenizer_folder: Path, language: Language, providers: Mapping[str, TextLayer]) -> Annotator:
    # One thread a process: the processes are the parallelism.
    os.environ["RAYON_NUM_THREADS"] = "1"
    return Annotator.load(tokenizer_folder, language, providers)


def annotate_texts(texts: list[str]) -> list[AnnotatedText]:
    """Annotate documents in this process, which must have been started for it."""
    assert _annotator is not None
    # Half the bytes on the way back to the writer.
    return [replace(text, token_ids=text.token_ids.astype(np.int32)) for text in _annotator().annotate(texts)]


@dataclass
class Processes:
    """Worker processes that answer in the order of the questions; none means that the work is done here."""

    pool: ProcessPoolExecutor | None
    processes: int
    _submitting: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def map_with_input(
        self, function: Callable[[Question], Answer], items: Iterable[Item], question: Callable[[Item], Question]
    ) -> Iterator[tuple[Item, Answer]]:
        """Yield each item with the answer to its question, a few ahead and no more, so that memory stays bounded."""
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

    def start(self, function: Callable[[Question], Answer], items: Sequence[Question]) -> Callable[[], list[Answer]]:
        """Begin to answer a few questions, all at once, and return what waits for the answers; here, it then answers them."""
        if not self.pool:
            return lambda: [function(item) for item in items]
        pool = self.pool
        # A thread waits for the process that is to answer, since what it imports takes a while.
        begun = self._submitting.submit(lambda: [pool.submit(function, item) for item in items])
        return lambda: [future.result() for future in begun.result()]

    def map(self, function: Callable[[Question], Answer], items: Iterable[Question]) -> Iterator[Answer]:
        """Yield the answers in order."""
        return (answer for _, answer in self.map_with_input(function, items, lambda item: item))


@contextmanager
def annotation_processes(
    processes: int, tokenizer_folder: Path, language: Language, providers: Mapping[str, TextLayer]
) -> Iterator[Processes]:
    """Start processes that hold the tokenizer of a folder once it is there; 0 or 1: this process alone."""
    if processes <= 1:
        _start_worker(tokenizer_folder, language, providers)
        yield Processes(None, 1)
        return
    # What they import is imported once, beside the work here, by a process without threads that they are forked from.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    forkserver.ensure_running()
    with ProcessPoolExecutor(processes, context, _start_worker, (tokenizer_folder, language, providers)) as pool:
        yield Processes(pool, processes)
