"""Tokens, keys and passwords in text that is printed or written -> a placeholder."""

import os
import re
from collections.abc import Callable

HIDDEN = "[hidden]"
_LEAST = 8
"""Characters of the shortest value that counts as a secret."""
# The text may be long and made to be slow: no pattern begins at each character of a run and then
# reads the rest of the run.
_SHAPES = re.compile(
    # user and password of an address, or of one that was taken for a path
    r"(?:(?<=://)|(?<=:/))[^\s/?#@]+(?=@)"
    # tokens of known services
    r"|\b(?:hf_|gh[a-z]_)[A-Za-z0-9]{30,}|\bgithub_pat_\w{40,}|\b(?:glpat-|xox[a-z]-)[\w-]{16,}"
    r"|\bsk-[\w-]{32,}|\bAKIA[0-9A-Z]{16}\b|\bAIza[\w-]{30,}"
    r"|(?<![\w-])[\w-]+\.eyJ[\w-]+\.[\w-]+"  # JSON web tokens
    r"|(?<=-----BEGIN )[A-Z ]*PRIVATE KEY-----[^-]*"
)
_NAMED = re.compile(
    r"(?i)(?<![^\W_])((?:api[_-]?key|secret|password|passwd|credentials?"
    r"|(?:access|auth)[_-](?:token|key)|token)[\"']?\s*[=:]"
    rf"\s*[\"']?|bearer\s+)[^\s\"'&,;)]{{{_LEAST},}}"
)
_VARIABLE = re.compile(
    r"(?i)(?:token|secret|passw(?:or)?d|passphrase|api_?key|access_?key|private_?key|credentials?"
    r"|cookie|_(?:pass|pwd|key))$"
)


def redacted(text: str) -> str:
    """Return a text with every secret hidden: those that look like one, and the values of variables
    that are named like one.
    """
    return redactor()(text)


def redactor() -> Callable[[str], str]:
    """Return what does the same to many texts, and looks at the environment once."""
    values = _values_of_variables()

    def hide(text: str) -> str:
        for value in values:
            text = text.replace(value, HIDDEN)
        return _NAMED.sub(rf"\g<1>{HIDDEN}", _SHAPES.sub(HIDDEN, text))

    return hide


def _values_of_variables() -> list[str]:
    found = (value for name, value in os.environ.items() if _VARIABLE.search(name))
    # A path to a secret is none; the longest first, so that one which begins another leaves nothing
    # of it.
    return sorted(
        (value for value in found if len(value) >= _LEAST and not value.startswith("/")),
        key=len,
        reverse=True,
    )
