"""Task instances without a corpus."""

import numpy as np

from ernie_cmtl.data.windows import token_windows
from ernie_cmtl.records import CorpusProfile, Vocabulary
from ernie_cmtl.task import MASKED_TOKEN_HEAD, HeadSpec, PretrainTask, TaskOptions
from ernie_cmtl.task_instance import TaskInstance

PAD, CLS, SEP = 9, 1, 2


NOTHING = np.zeros(0, dtype=np.int64)


VOCABULARY = Vocabulary(30, CLS, SEP, PAD, 3, NOTHING.astype(bool), NOTHING)


HEADS = {
    "masking": (MASKED_TOKEN_HEAD,),
    "tagging": (MASKED_TOKEN_HEAD, HeadSpec("tag", "token_class", classes=3)),
    "tagging_again": (HeadSpec("tag", "token_class", classes=3),),
    "following": (
        HeadSpec("next", "choice", classes=2),
        HeadSpec("distance", "sequence_regression"),
    ),
    "topics": (
        HeadSpec("topic", "sequence_class", classes=4),
        HeadSpec("weight", "token_regression"),
    ),
}


class Written(PretrainTask):
    """A task whose examples the test writes itself."""

    family = "lexical"
    citation = "this test"
    heads = ()

    def index(self, layout, length):
        return token_windows(layout, length, 0)

    def example(self, text, rng, corpus):
        return None


def make_instances() -> list[TaskInstance]:
    instances = []
    # Rows of the task embedding need not be the numbers of the instances.
    for row, (name, heads) in zip((4, 1, 7, 0, 2), HEADS.items(), strict=True):
        task = Written(TaskOptions.model_validate({}), CorpusProfile("en", VOCABULARY, (), ()))
        task.heads = heads
        instances.append(TaskInstance(name, row, task))
    return instances
