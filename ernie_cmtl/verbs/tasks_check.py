"""The verb tasks check: is a task sound on a corpus."""

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.store.manifest import SPLITS
from ernie_cmtl.run.instances import make_instance
from ernie_cmtl.task_checks.check import CheckTexts, TaskCheck, check_task
from ernie_cmtl.task_checks.edge_texts import edge_texts
from ernie_cmtl.task_checks.text_view import token_classes


def tasks_check(
    corpus: Corpus, name: str, config: TaskConfig, length: int, samples: int, seed: int
) -> TaskCheck:
    """Check a task on a corpus; length: of a row; samples: training ones, and half as many held-out
    ones.

    Raises:
        UserError: The task does not exist or does not fit the corpus, or finds no sample in one of
            its splits.
    """
    instance = make_instance(name, 0, config, corpus)
    table = instance.task.options.table
    train, heldout = (corpus.text(split, table) for split in SPLITS)
    # Labelled rows have always the same sentences, and what a document tells of others does not
    # hold for a few of them.
    edges = {} if table or instance.task.document_layers else edge_texts(train, instance.layers)
    texts = CheckTexts(train, heldout, edges, token_classes(corpus.vocabulary.tokens))
    return check_task(instance, texts, length, samples, seed)
