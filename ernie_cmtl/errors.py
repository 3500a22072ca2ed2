"""The one error that a user is meant to see."""


class UserError(ValueError):
    """A mistake of the user's: the message names the bad value and the accepted ones; verbs print it and exit with 2."""
