"""What a text is known by: every choice among documents is a function of their text alone, not of
file or process.
"""

import hashlib

DIGEST_BYTES = 16


def split_hash(digest: bytes) -> int:
    """Return the number whose order decides which documents are held out."""
    return int.from_bytes(digest[:8], "little")


def sample_hash(digest: bytes) -> int:
    """Return the number whose order decides which documents the tokenizer is trained on."""
    return int.from_bytes(digest[8:], "little")


def text_digest(text: str) -> bytes:
    """Return the 16 bytes that a text is known by."""
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()
