"""What an error of the library says, for our own message."""


def reason(error: Exception) -> str:
    """Return the first line of an error, or its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
