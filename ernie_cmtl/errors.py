"""The one error that a user is meant to see."""

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
