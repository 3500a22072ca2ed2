"""Inputs -> documents, in a fixed order, with every document that cannot be used rejected by name
and reason.
"""

from collections.abc import Iterable, Iterator

from ernie_cmtl.corpus.read.checked_text import checked_documents
from ernie_cmtl.corpus.read.compression import DamagedFileError, has_ending
from ernie_cmtl.corpus.read.encoding_detection import NO_TEXT, encoding_of, looks_like
from ernie_cmtl.corpus.read.encodings import UTF8, how_to_read, open_text, shown_encoding
from ernie_cmtl.corpus.read.hub_datasets import DatasetInput, dataset_rows
from ernie_cmtl.corpus.read.inputs import FileInput, Input
from ernie_cmtl.corpus.read.plain_text import read_blocks, read_whole
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.read.rows import BadRow, Row, UnknownColumnError, UnreadableHeaderError
from ernie_cmtl.corpus.read.tables import TABLES, table_rows
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection


def read_documents(source: Input, config: ReaderConfig) -> Iterator[Document | Rejection]:
    """Yield each document of an input, or the rejection that stands for it; the order is that of
    the input.

    Raises:
        UnknownEncodingError: As `encoding_of`, where the encoding was not looked up before.
        UserError: The column of the text is not there, the header cannot be read, the file is not
            there, the dataset cannot be opened or read to its end, or `config.errors` is strict and
            a document cannot be used.
    """
    encoding = UTF8
    if isinstance(source, FileInput):
        encoding = source.encoding or encoding_of(source.path, config.encoding)
    for item in _read(source, config, encoding):
        if encoding != UTF8 and isinstance(item, Rejection) and item.reason == "invalid_utf8":
            # The place is one in the text as UTF-8, where nobody would find it.
            item = Rejection(item.identifier, "invalid_bytes", f"bytes that are not {encoding}")
        if config.errors == "strict" and isinstance(item, Rejection):
            reason = f"{item.reason}, {item.detail}" if item.detail else item.reason
            raise UserError(
                f"{source.label}: {item.identifier} cannot be used ({reason}); errors=skip "
                "rejects it alone"
            )
        yield item


def _read(source: Input, config: ReaderConfig, encoding: str) -> Iterator[Document | Rejection]:
    repair = config.errors == "repair"
    try:
        if isinstance(source, DatasetInput):
            rows = dataset_rows(source, [config.text_field], config.optional_fields, repair)
            yield from _row_documents(rows, source.name, config)
        elif has_ending(source.path, TABLES):
            limit = config.maximum_line_bytes
            rows = table_rows(
                source.path, [config.text_field], limit, config.optional_fields, repair, encoding
            )
            yield from _row_documents(rows, source.name, config)
        else:
            with open_text(source.path, encoding) as stream:
                read = read_blocks if config.text_documents == "blank_line" else read_whole
                yield from read(stream, source.name, config)
    except DamagedFileError as error:
        yield Rejection(source.name, error.reason, str(error))
    except (UnknownColumnError, UnreadableHeaderError) as error:
        raise UserError(f"{error}{_header_hint(source, encoding, error)}") from error


def _header_hint(source: Input, encoding: str, error: UserError) -> str:
    """Say how a table whose header does not fit may be read after all."""
    name = looks_like(source.path) if isinstance(source, FileInput) else ""
    if name not in ("", NO_TEXT, shown_encoding(encoding)):
        return f"; by its bytes, the file is in {name}: {how_to_read(name)}"
    if isinstance(error, UnknownColumnError):
        return "; reader.text_field=NAME says which one holds the text"
    return ""


def _row_documents(
    rows: Iterable[Row | BadRow], name: str, config: ReaderConfig
) -> Iterator[Document | Rejection]:
    for row in rows:
        if isinstance(row, BadRow):
            yield Rejection(f"{name}#{row.number}", row.reason, row.detail)
            continue
        number, values = row
        text = values[config.text_field]
        title = values.get(config.title_field or "")
        if isinstance(text, str):
            yield from checked_documents(
                f"{name}#{number}", text, config, title.strip() if isinstance(title, str) else ""
            )
        else:
            detail = f"no string under {config.text_field!r} but a {type(text).__name__}"
            yield Rejection(f"{name}#{number}", "no_text_field", detail)
