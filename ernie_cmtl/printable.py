"""Text of other people as it may be shown: nothing in it moves a cursor, hides or reorders what
stands beside it, or has no bytes.
"""

import json
import re
from typing import Any

_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
"""Control characters, which terminals obey; marks that turn the direction of text; and halves of
surrogate pairs, by which Python holds bytes of file names that are not UTF-8.
"""
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str, keep: str = "") -> str:
    """Return a text with an escape in place of each character that terminals obey or cannot show.

    keep: characters that stay, such as a line break of one's own.
    """
    return _HIDDEN.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    # Python holds the byte 0xff of a file name as U+DCFF.
    byte = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code
    return _SHORT.get(character) or (f"\\x{byte:02x}" if byte <= 0xFF else f"\\u{code:04x}")


def json_line(value: Any, ascii_only: bool = False) -> str:
    """Return a value as JSON on one line that any terminal may get; it reads back as the same."""
    line = json.dumps(value, ensure_ascii=ascii_only)
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
