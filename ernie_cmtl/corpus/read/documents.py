"""Inputs -> documents, in a fixed order, with every document that cannot be used rejected by name
and reason.
"""

from collections.abc import Iterable, Iterator

from ernie_cmtl.corpus.read.checked_text import checked_documents
from ernie_cmtl.corpus.read.compression import DamagedFileError, open_bytes
from ernie_cmtl.corpus.read.hub_datasets import DatasetInput, dataset_rows
from ernie_cmtl.corpus.read.inputs import Input
from ernie_cmtl.corpus.read.plain_text import read_blocks, read_whole
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.read.rows import BadRow, Row, UnknownColumnError
from ernie_cmtl.corpus.read.tables import TABLES, table_rows
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection


def read_documents(source: Input, config: ReaderConfig) -> Iterator[Document | Rejection]:
    """Yield each document of an input, or the rejection that stands for it; the order is that of
    the input.

    Raises:
        UserError: The column of the text is not there, the header cannot be read, the file is not
            there, the dataset cannot be opened or read to its end, or `config.errors` is strict and
            a document cannot be used.
    """
    for item in _read(source, config):
        if config.errors == "strict" and isinstance(item, Rejection):
            reason = f"{item.reason}, {item.detail}" if item.detail else item.reason
            raise UserError(
                f"{source.label}: {item.identifier} cannot be used ({reason}); errors=skip "
                "rejects it alone"
            )
        yield item


def _read(source: Input, config: ReaderConfig) -> Iterator[Document | Rejection]:
    repair = config.errors == "repair"
    try:
        if isinstance(source, DatasetInput):
            rows = dataset_rows(source, [config.text_field], config.optional_fields, repair)
            yield from _row_documents(rows, source.name, config)
        elif source.name.endswith(TABLES):
            limit = config.maximum_line_bytes
            rows = table_rows(
                source.path, [config.text_field], limit, config.optional_fields, repair
            )
            yield from _row_documents(rows, source.name, config)
        else:
            with open_bytes(source.path) as stream:
                read = read_blocks if config.text_documents == "blank_line" else read_whole
                yield from read(stream, source.name, config)
    except DamagedFileError as error:
        yield Rejection(source.name, error.reason, str(error))
    except UnknownColumnError as error:
        raise UserError(f"{error}; reader.text_field=NAME says which one holds the text") from error


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
