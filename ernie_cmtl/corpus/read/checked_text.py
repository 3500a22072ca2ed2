"""The text of one document -> documents: checked, and cut where it is too long."""

import re
from collections.abc import Iterator

from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.records import Document, Rejection

_BREAKS = (re.compile(r"\n[^\S\n]*\n"), re.compile(r"\n"), re.compile(r"\s"))
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def checked_documents(
    identifier: str, text: str, config: ReaderConfig, title: str = ""
) -> Iterator[Document | Rejection]:
    """Yield the documents that a text becomes, several where it is too long, or the rejection that
    stands for it.
    """
    text = text.replace("\r\n", "\n").strip()
    if not text:
        yield Rejection(identifier, "empty")
        return
    wrong = _LONE_SURROGATE.search(text) or _LONE_SURROGATE.search(title)
    if wrong and config.errors != "repair":
        yield Rejection(identifier, "lone_surrogate", f"character {wrong.start()}")
        return
    title = _LONE_SURROGATE.sub("\ufffd", title)
    if len(text) <= config.maximum_characters:
        yield _document(identifier, text, title)
        return
    for number, part in enumerate(_cut(text, config.maximum_characters), start=1):
        yield _document(f"{identifier}/{number}", part, title)


def _document(identifier: str, text: str, title: str) -> Document:
    text, repaired = _LONE_SURROGATE.subn("\ufffd", text)
    return Document(identifier, text, len(text.encode()), title, repaired > 0)


def _cut(text: str, limit: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = min(len(text), start + limit)
        if end < len(text):
            end = next(
                (
                    last
                    for last in (_last_break(text, pattern, start, end) for pattern in _BREAKS)
                    if last
                ),
                end,
            )
        if part := text[start:end].strip():
            yield part
        start = end


def _last_break(text: str, pattern: re.Pattern[str], start: int, end: int) -> int:
    """Return the end of the last match in the second half of text[start:end], or 0."""
    last = 0
    for match in pattern.finditer(text, start + (end - start) // 2, end):
        last = match.end()
    return last
