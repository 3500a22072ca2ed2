"""What the `datasets` package opens -> rows: datasets of the Hugging Face Hub, local folders, what
save_to_disk wrote.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie_cmtl.corpus.read.dataset_files import (
    SPLITS,
    STATE,
    check_data_files,
    check_saved_files,
)
from ernie_cmtl.corpus.read.parquet import batch_rows
from ernie_cmtl.corpus.read.rows import BadRow, Row, choose_columns, listed
from ernie_cmtl.errors import UserError
from ernie_cmtl.redaction import redacted

if TYPE_CHECKING:
    import datasets

PREFIX = "datasets:"
HOW_TO_WRITE = (
    f"{PREFIX}NAME[,name=CONFIG][,split=train][,revision=REV][,data_dir=DIR][,data_files=FILES]"
)
_KINDS = ("arrow", "csv", "json", "parquet", "text")
_OPTIONS = ("name", "split", "revision", "data_dir", "data_files")
_BATCH_ROWS = 256
_SECONDS_TO_ANSWER = 10


@dataclass(frozen=True, order=True, slots=True)
class DatasetInput:
    """A dataset, as `load_dataset` or `load_from_disk` names it."""

    path: str
    """Name on the Hub, name of a kind of file (`json`, with data_files), or a local folder."""
    options: tuple[tuple[str, str], ...] = ()
    resolved_revision: str | None = field(default=None, compare=False)
    """The commit that a name on the Hub stood for when it was looked up, so that all readings see
    the same text.
    """

    @property
    def name(self) -> str:
        """The short name that the identifiers of its documents begin with."""
        return Path(os.path.abspath(self.path)).name if self.is_local else self.path

    @property
    def label(self) -> str:
        """The full name, for messages, logs and the manifest; without the passwords and tokens of
        its addresses.
        """
        return redacted(
            PREFIX + ",".join([self.path, *(f"{key}={value}" for key, value in self.options)])
        )

    @property
    def is_local(self) -> bool:
        """Is it a local folder."""
        return Path(self.path).is_dir()

    def stamp(self) -> tuple[int, ...]:
        """Return nothing: there is nothing to look at that tells whether a dataset was changed."""
        return ()

    def inside(self, folder: Path) -> bool:
        """Tell whether it is a local folder inside of another one."""
        return self.is_local and folder in Path(os.path.abspath(self.path)).parents


def parse_dataset(word: str) -> DatasetInput:
    """Return what a word `datasets:NAME,key=value` names; a name on the Hub is looked up there.

    Raises:
        UserError: The word has no name or an unknown key, or the Hub does not know the name or
            cannot be reached.
    """
    path, *rest = word.removeprefix(PREFIX).split(",")
    options = dict(part.partition("=")[::2] for part in rest)
    if (
        not path
        or len(options) < len(rest)
        or not all(options.values())
        or not set(options) <= set(_OPTIONS)
    ):
        raise UserError(f"cannot read {word!r}; a dataset is written {HOW_TO_WRITE}")
    source = DatasetInput(os.path.expanduser(path), tuple(sorted(options.items())))  # noqa: PTH111
    if source.is_local:
        return source
    if path in _KINDS:
        # Without a place, the library would take what lies anywhere below the working directory.
        if not options.keys() & {"data_files", "data_dir"}:
            raise UserError(
                f"{word!r} is a kind of file; name the files with data_files=FILES or data_dir=DIR"
            )
        return source
    if Path(source.path).is_absolute() or source.path.startswith("."):
        raise UserError(f"no folder {source.path}, in {word!r}")
    return replace(source, resolved_revision=_look_up(source, options.get("revision")))


def dataset_hint(word: str) -> str:
    """Return how a word that names no file may have been meant; empty if it does not look like a
    dataset.
    """
    return (
        f"; a dataset of that name is written {PREFIX}{word}"
        if re.fullmatch(r"[\w.-]+/[\w.-]+", word)
        else ""
    )


def is_saved_dataset(folder: Path) -> bool:
    """Tell whether save_to_disk wrote a folder."""
    return (folder / SPLITS).is_file() or (folder / STATE).is_file()


def dataset_rows(
    source: DatasetInput, columns: Sequence[str], optional: Sequence[str] = (), repair: bool = False
) -> Iterator[Row | BadRow]:
    """Yield the rows of a dataset with some columns, numbered from 1; bounded in memory.

    optional: further columns, which a row has where they are there; repair: as in `table_rows`.

    Raises:
        UnknownColumnError: The column is not there.
        UserError: The dataset, its configuration or split does not exist, or cannot be reached or
            read to its end, or it names files that are not its own.
    """
    # What the library and those below it raise has no common type; all of it is about the dataset
    # that was named.
    try:
        dataset = _open(source)
        known = dataset.column_names
        if known is not None:
            dataset = dataset.select_columns(choose_columns(columns, optional, known, source.label))
        tables = dataset.with_format("arrow").iter(batch_size=_BATCH_ROWS)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"cannot open {source.label}: {_message(error)}") from error
    number = 1
    while True:
        try:
            table = next(tables, None)
            if table is None:
                return
            columns = choose_columns(columns, optional, table.column_names, source.label)
            rows = list(batch_rows(table.select(columns), number, repair))
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{source.label} cannot be read beyond row {number - 1}: {_message(error)}"
            ) from error
        yield from rows
        number += table.num_rows


def _look_up(source: DatasetInput, revision: str | None) -> str | None:
    import huggingface_hub

    if huggingface_hub.is_offline_mode():
        return None
    try:
        # One request that does not try again: without it, the library tries for half a minute to
        # reach a Hub that is not there.
        return (
            huggingface_hub.HfApi()
            .dataset_info(source.path, revision=revision, timeout=_SECONDS_TO_ANSWER)
            .sha
        )
    except Exception as error:
        offline = "where the Hub cannot be reached, HF_HUB_OFFLINE=1 reads what is in the cache"
        raise UserError(
            f"cannot find {source.label} on the Hugging Face Hub: {_message(error)} ({offline})"
        ) from error


def _open(source: DatasetInput) -> "datasets.Dataset | datasets.IterableDataset":
    import datasets

    options: dict[str, Any] = dict(source.options)
    if source.is_local and is_saved_dataset(Path(source.path)):
        return _open_saved(source, options)
    if source.resolved_revision:
        options["revision"] = source.resolved_revision
    split = options.pop("split", "train")
    # What load_dataset does to stream, with a look at the files between.
    builder = datasets.load_dataset_builder(source.path, **options)
    if source.path not in _KINDS and "data_files" not in options:
        files = [
            file for of_split in (builder.config.data_files or {}).values() for file in of_split
        ]
        folder = Path(source.path, options.get("data_dir", "")) if source.is_local else None
        check_data_files(map(str, files), folder, source.label)
    return builder.as_streaming_dataset(split=split)


def _open_saved(source: DatasetInput, options: dict[str, Any]) -> "datasets.Dataset":
    import datasets

    if unknown := options.keys() - {"split"}:
        raise UserError(
            f"{source.label} was written by save_to_disk, which knows no "
            f"{listed(sorted(unknown))}; accepted: split"
        )
    check_saved_files(Path(source.path), source.label)
    loaded = datasets.load_from_disk(source.path)
    split = options.get("split")
    if isinstance(loaded, datasets.DatasetDict):
        if (split or "train") not in loaded:
            raise UserError(
                f"{source.label} has no split {split or 'train'!r}; its splits: {listed(loaded)}"
            )
        return loaded[split or "train"]
    if split and split != str(loaded.split):
        raise UserError(f"{source.label} has no split {split!r}: it holds one dataset, not several")
    return loaded


def _message(error: Exception) -> str:
    """Return what an error says, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
