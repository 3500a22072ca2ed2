"""What the tokens of a window are to the rest of their document: how often they occur there, and how telling they are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ernie_cmtl.data.windows import token_windows
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import AnnotatedText, IntArray
from ernie_cmtl.task import PretrainTask, SampleIndex, TaskCorpus, TaskOptions, TextLayout

TERM_LAYERS = ("document_counts", "inverse_document_frequency")
_SPECIALS = 2


class TermOptions(TaskOptions):
    """Which tokens of a window are terms."""

    minimum_idf: float = Field(2.0, ge=0)
    """Smallest inverse document frequency of a term, in nats; 2 leaves out what stands in one of 7.4 documents or more."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a window: its tokens without special ones and without those that stand in most documents anyway."""

    places: IntArray
    """Where they are in the window; int64 [N]."""
    counts: IntArray
    """How often each occurs in the rest of its document; int64 [N]."""
    idf: npt.NDArray[np.float64]
    """Their inverse document frequency in nats; float64 [N]."""
    rest: int
    """Tokens of the rest."""


def windows_with_rest(layout: TextLayout, length: int) -> SampleIndex:
    """Cut documents into windows for examples of `length` tokens; a document that is one window whole has no rest and gives none.

    Raises:
        UserError: No document is longer than a window.
    """
    windows = token_windows(layout, length - _SPECIALS, _SPECIALS)
    documents = np.searchsorted(layout.document_tokens, windows.starts, side="right") - 1
    found = np.flatnonzero(windows.stops - windows.starts < np.diff(layout.document_tokens)[documents])
    if not len(found):
        raise UserError(
            f"no document is longer than a window of {length - _SPECIALS} tokens; maximum_length makes windows shorter"
        )
    return SampleIndex(windows.starts[found], windows.stops[found], windows.slots[found])


def find_terms(task: PretrainTask, text: AnnotatedText, corpus: TaskCorpus, minimum_idf: float) -> Terms:
    """Find the terms of a window that was cut by `windows_with_rest`, with the `TERM_LAYERS`."""
    steps = text.layers["inverse_document_frequency"]
    idf = steps / task.profile.layer_options["inverse_document_frequency"]["steps"]
    places = np.flatnonzero((idf >= minimum_idf) & ~task.vocabulary.special[text.token_ids])
    in_window = np.bincount(text.token_ids)[text.token_ids[places]]
    counts = text.layers["document_counts"][places].astype(np.int64) - in_window
    first, end = corpus.document_tokens[(document := corpus.document_at(text.start)) : document + 2]
    return Terms(places, counts, idf[places], int(end - first) - len(text.token_ids))
