"""The one error that a user is meant to see, and how it lists what is accepted."""

from collections.abc import Iterable
from difflib import get_close_matches

from ernie_cmtl.redaction import redacted


class UserError(ValueError):
    """A mistake of the user's: the message names the bad value and the accepted ones; verbs print
    it and exit with 2.
    """

    def __init__(self, message: str) -> None:
        # Here, so that no secret that stands in a setting or address is shown, wherever the message
        # goes.
        super().__init__(redacted(message))


class LostWorkerError(RuntimeError):
    """Another worker of the run was killed or does not answer; verbs print the message and exit
    with 1.
    """


def choices(name: str, accepted: Iterable[object], label: str = "accepted:") -> str:
    """Return the accepted names for a message about a name that is none of them, after the one that
    looks like it.

    label: what stands before the names.
    """
    names = [str(one) for one in accepted]
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}{label} {', '.join(names) or 'none'}"
