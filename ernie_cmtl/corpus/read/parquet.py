"""Arrow tables -> rows: .parquet files and whatever else comes as batches of columns."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ernie_cmtl.corpus.read.compression import DamagedFileError, missing_file
from ernie_cmtl.corpus.read.rows import BadRow, Row, choose_columns
from ernie_cmtl.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

_BATCH_BYTES, _BATCH_ROWS = 8 << 20, 1024
_BUFFER_BYTES = 1 << 20
_DICTIONARY_BYTES = 64 << 20


def parquet_rows(
    path: Path, columns: Sequence[str] | None, optional: Sequence[str] = (), repair: bool = False
) -> Iterator[Row | BadRow]:
    """Yield the rows of a .parquet file, numbered from 1.

    optional: columns that are read where they are there; repair: as in `table_rows`.

    Raises:
        UnknownColumnError: A column is not in the schema.
        DamagedFileError: What cannot be read; all of the file where the footer at its end is
            missing.
        UserError: The file is not there or may not be read.
    """
    import pyarrow
    from pyarrow import parquet

    number = 1
    try:
        with (
            path.open("rb") as stream,
            parquet.ParquetFile(
                stream, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
            ) as file,
        ):
            names = file.schema_arrow.names
            columns = choose_columns(names if columns is None else columns, optional, names, path)
            size = _rows_at_once(file, columns)
            # One group at a time: a batch that reaches into a damaged group would take sound rows
            # with it.
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(
                    size, row_groups=[group], columns=columns, use_threads=False
                ):
                    yield from batch_rows(batch, number, repair)
                    number += batch.num_rows
    except pyarrow.ArrowException as error:
        raise DamagedFileError(
            "damaged_parquet", f"row {number} and what follows: {error}"
        ) from error
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except OSError as error:
        if error.errno:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        raise DamagedFileError(
            "damaged_parquet", f"row {number} and what follows: {error}"
        ) from error


def batch_rows(
    batch: "pyarrow.RecordBatch | pyarrow.Table", first: int, repair: bool = False
) -> Iterator[Row | BadRow]:
    """Yield the rows of a batch; the first has the number given, and a row that is no valid UTF-8
    is a bad one, or repaired.

    Raises:
        pyarrow.ArrowInvalid: Its lengths and offsets do not fit together.
    """
    _check_buffers(batch)
    try:
        yield from enumerate(batch.to_pylist(), start=first)
        return
    except UnicodeDecodeError:
        pass
    for place in range(batch.num_rows):
        row = batch.slice(place, 1)
        try:
            yield first + place, _escaped(row) if repair else row.to_pylist()[0]
        except UnicodeDecodeError as error:
            yield BadRow(first + place, "invalid_utf8", f"byte {error.start}")


def _check_buffers(batch: "pyarrow.RecordBatch | pyarrow.Table") -> None:
    """Refuse offsets that lead out of their buffers: the library trusts them, and the process would
    end.
    """
    import pyarrow
    from pyarrow import types

    for column in batch.columns:
        for chunk in column.chunks if isinstance(column, pyarrow.ChunkedArray) else [column]:
            # As bytes: what is no UTF-8 costs its row, not the batch.
            if types.is_string(chunk.type):
                chunk.view("binary").validate(full=True)
            elif types.is_large_string(chunk.type):
                chunk.view("large_binary").validate(full=True)
            else:
                chunk.validate(full=True)


def _escaped(row: "pyarrow.RecordBatch | pyarrow.Table") -> dict[str, object]:
    """Return the values of one row, each byte of a string that is no UTF-8 as a lone surrogate."""
    from pyarrow import types

    found: dict[str, object] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        if types.is_string(column.type) or types.is_large_string(column.type):
            value = column.cast("large_binary")[0].as_py()
            found[name] = value if value is None else value.decode(errors="surrogateescape")
        else:
            found[name] = column[0].as_py()
    return found


def _rows_at_once(file: "parquet.ParquetFile", columns: Sequence[str]) -> int:
    """Return how many rows fit in memory, however their values were packed."""
    groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
    row_bytes: int = max(
        [0, *(group.total_byte_size // max(1, group.num_rows) for group in groups)]
    )
    chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
    # A value of a dictionary may be as long as all that was written, and come back in every row.
    longest: int = max(
        [
            0,
            *(
                c.total_uncompressed_size
                for c in chunks
                if c.has_dictionary_page and c.path_in_schema in columns
            ),
        ]
    )
    return max(
        1, min(_BATCH_ROWS, _BATCH_BYTES // (row_bytes + 1), _DICTIONARY_BYTES // (longest + 1))
    )
