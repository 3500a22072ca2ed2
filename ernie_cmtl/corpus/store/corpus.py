"""The corpus on disk: shards of memory-mapped arrays, one file a layer, described by a manifest."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ernie_cmtl.atomic_files import file_hash, read_array
from ernie_cmtl.corpus.store.array_checks import check_shard, check_table
from ernie_cmtl.corpus.store.labelled import open_rows, table_profile
from ernie_cmtl.corpus.store.manifest import Shard, Split, read_manifest
from ernie_cmtl.corpus.store.text_split import TextSplit
from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.records import Array, CorpusProfile, FloatArray, IntArray, Language, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Corpus:
    """A corpus that was prepared: manifest, tokenizer and splits."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self._splits: dict[Split, TextSplit] = {}
        self._verified = False
        self._sizes: dict[Path, int] = {}

    @property
    def language(self) -> Language:
        """Language that the corpus was annotated for."""
        return self.manifest.language

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer, as a transformers object."""
        from ernie_cmtl.corpus.tokens.tokenizer import load_tokenizer, vocabulary_hash

        tokenizer = load_tokenizer(self.folder / "tokenizer")
        if vocabulary_hash(tokenizer) != self.manifest.vocabulary_hash:
            raise UserError(
                f"corpus {self.folder} is damaged: its tokenizer is not the one that it was built "
                "with"
            )
        return tokenizer

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What tasks need to know of the tokenizer."""
        from ernie_cmtl.corpus.tokens.tokenizer import vocabulary_of

        return vocabulary_of(self.tokenizer)

    @cached_property
    def profile(self) -> CorpusProfile:
        """What tasks need to know of the corpus."""
        manifest = self.manifest
        tables = {name: table_profile(table) for name, table in manifest.labelled.items()}
        layers, spans = tuple(manifest.layers), tuple(manifest.spans)
        return CorpusProfile(
            manifest.language, self.vocabulary, layers, spans, manifest.layer_options, tables
        )

    def verify(self) -> None:
        """Read every file once, compare it with its hash, and compare the arrays with the manifest;
        later calls do nothing.

        Raises:
            UserError: A file is missing or not what it was when the corpus was built, or an array
                does not hold what the manifest says.
        """
        if self._verified:
            return
        files = dict(self._files())
        with ThreadPoolExecutor() as pool:
            for path, found in zip(files, pool.map(_hash_if_there, files), strict=True):
                if found != files[path]:
                    what = (
                        "is missing" if found is None else "was changed since the corpus was built"
                    )
                    raise UserError(
                        f"corpus {self.folder} is damaged: {path.relative_to(self.folder)} {what}"
                    )
        # The hashes of a stranger's corpus are the stranger's.
        for shard in self.manifest.shards:
            check_shard(self.folder / "shards" / shard.name, shard, self.manifest)
        for name, table in self.manifest.labelled.items():
            check_table(self.folder / "labelled" / name, table, self.manifest.vocabulary_size)
        self._sizes = {path: path.stat().st_size for path in files}
        self._verified = True

    def check_sizes(self) -> None:
        """Compare the size of every file with what it was when the files were verified: to read
        where a mapped file was cut off ends the process without a word.

        Raises:
            UserError: A file is missing or has another size.
        """
        for path, size in self._sizes.items():
            found = path.stat().st_size if path.is_file() else None
            if found != size:
                now = "is missing" if found is None else f"has {found} bytes"
                raise UserError(
                    f"corpus {self.folder} was changed while it is in use: "
                    f"{path.relative_to(self.folder)} {now}, and had {size}; restore it, and give "
                    "the same command again"
                )

    def _files(self) -> Iterator[tuple[Path, str]]:
        for name, expected in self.manifest.files.items():
            yield self.folder / name, expected
        for shard in self.manifest.shards:
            for name, expected in shard.hashes.items():
                yield self.folder / "shards" / shard.name / f"{name}.npy", expected
        for table_name, table in self.manifest.labelled.items():
            for name, expected in table.hashes.items():
                yield self.folder / "labelled" / table_name / f"{name}.npy", expected

    def split(self, name: Split) -> TextSplit:
        """Open a split; the first one opened verifies the files.

        Raises:
            UserError: A file is missing or damaged.
        """
        self.verify()
        if name not in self._splits:
            self._splits[name] = self._open(name)
        return self._splits[name]

    def _open(self, name: Split) -> TextSplit:
        shards = [shard for shard in self.manifest.shards if shard.extent(name).tokens]
        starts = np.cumsum([0] + [shard.extent(name).tokens for shard in shards])
        sentences = np.cumsum([0] + [shard.extent(name).sentences for shard in shards])
        arrays, sentence_parts, document_parts = (
            [],
            [np.zeros(1, dtype=np.int64)],
            [np.zeros(1, dtype=np.int64)],
        )
        for shard, start, sentence in zip(shards, starts, sentences, strict=False):
            opened, sentence_ends, document_ends = self._shard(shard, name)
            arrays.append(opened)
            sentence_parts.append(sentence_ends + start)
            document_parts.append(document_ends + sentence)
        return TextSplit(
            int(starts[-1]),
            np.concatenate(document_parts),
            np.concatenate(sentence_parts),
            starts[: len(shards)],
            np.cumsum([0] + [shard.extent(name).documents for shard in shards])[: len(shards)],
            [shard.source for shard in shards],
            arrays,
        )

    def text(self, split: Split, table: str | None) -> TextSplit:
        """Open what a task draws from: a split of the running text, or of a table by its name.

        Raises:
            UserError: There is no table of this name, or a file is missing or damaged.
        """
        if table is None:
            return self.split(split)
        self.verify()
        tables = self.manifest.labelled
        if table not in tables:
            there = choices(table, tables, "there are:")
            raise UserError(f"corpus {self.folder} has no table {table!r}; {there}")
        return open_rows(self.folder / "labelled" / table, tables[table], split)

    @property
    def has_text(self) -> bool:
        """Whether it holds running text, and not labelled rows alone."""
        return bool(self.manifest.sources)

    def token_frequencies(self) -> FloatArray:
        """Return the part of each token of the vocabulary in the training text, or in the labelled
        rows where there is no text, each counted once more; float64 [vocabulary].
        """
        tables = [None] if self.has_text else list(self.manifest.labelled)
        counts = np.ones(self.vocabulary.size)
        for table in tables:
            counts += self.text("train", table).token_counts(self.vocabulary.size)
        frequencies: FloatArray = counts / counts.sum()
        return frequencies

    def _shard(self, shard: Shard, split: Split) -> tuple[dict[str, Array], IntArray, IntArray]:
        """Return the arrays of one split of a shard and where its sentences and documents end."""
        folder = self.folder / "shards" / shard.name
        before = shard.train if split == "heldout" else None
        tokens, sentences, documents = (
            (before.tokens, before.sentences, before.documents) if before else (0, 0, 0)
        )
        extent = shard.extent(split)
        of_token, of_document = (
            slice(tokens, tokens + extent.tokens),
            slice(documents, documents + extent.documents),
        )
        parts = dict.fromkeys(("token_ids", *self.manifest.layers), of_token)
        parts |= dict.fromkeys(self.manifest.document_layers, of_document)
        arrays = {name: read_array(folder / f"{name}.npy")[part] for name, part in parts.items()}
        sentence_offsets = read_array(folder / "sentence_offsets.npy")
        document_offsets = read_array(folder / "document_offsets.npy")
        sentence_ends = sentence_offsets[sentences + 1 : sentences + 1 + extent.sentences] - tokens
        document_ends = (
            document_offsets[documents + 1 : documents + 1 + extent.documents] - sentences
        )
        return arrays, sentence_ends, document_ends


def _hash_if_there(path: Path) -> str | None:
    return file_hash(path) if path.is_file() else None
