"""The corpus on disk: shards of memory-mapped arrays, one file a layer, described by a manifest."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ernie_cmtl.corpus.files import file_hash, read_array
from ernie_cmtl.corpus.labelled import LabelledRows, open_rows
from ernie_cmtl.corpus.manifest import Shard, Split, read_manifest
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import AnnotatedText, Array, CorpusProfile, IntArray, Language, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TextSplit:
    """The documents of one split as one run of tokens over all its shards; reading is slicing."""

    tokens: int
    document_offsets: IntArray
    """Sentences: document d is sentences offsets[d]:offsets[d+1]; int64 [documents + 1]."""
    sentence_offsets: IntArray
    """Tokens: sentence s is tokens offsets[s]:offsets[s+1]; int64 [sentences + 1]."""
    shard_starts: IntArray
    """First token of each shard; int64 [shards]."""
    shard_sources: Sequence[str]
    """Source of each shard."""
    arrays: Sequence[Mapping[str, Array]] = field(repr=False)
    """Per shard: `token_ids` and the layers."""

    @property
    def documents(self) -> int:
        """Number of documents."""
        return len(self.document_offsets) - 1

    @cached_property
    def document_tokens(self) -> IntArray:
        """First token of each document and the end; int64 [documents + 1]."""
        return self.sentence_offsets[self.document_offsets]

    def sources(self, starts: IntArray) -> Array:
        """Return the source of each of some tokens; str [N]."""
        return np.array(self.shard_sources)[np.searchsorted(self.shard_starts, starts, side="right") - 1]

    def passage(self, start: int, stop: int, layers: Sequence[str]) -> AnnotatedText:
        """Return tokens start:stop, which lie in one document, with their sentences and layers."""
        shard = int(np.searchsorted(self.shard_starts, start, side="right")) - 1
        arrays, base = self.arrays[shard], int(self.shard_starts[shard])
        span = slice(start - base, stop - base)
        first, last = np.searchsorted(self.sentence_offsets, (start + 1, stop))
        offsets = np.empty(last - first + 2, dtype=np.int64)
        offsets[0], offsets[-1] = 0, stop - start
        offsets[1:-1] = self.sentence_offsets[first:last] - start
        token_ids = arrays["token_ids"][span].astype(np.int64)
        return AnnotatedText(token_ids, offsets, {name: np.asarray(arrays[name][span]) for name in layers}, start)

    def document_at(self, token: int) -> int:
        """Return the number of the document that a token lies in."""
        return int(np.searchsorted(self.document_tokens, token, side="right")) - 1


class Corpus:
    """A corpus that was prepared: manifest, tokenizer and splits."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self._splits: dict[Split, TextSplit] = {}

    @property
    def language(self) -> Language:
        """Language that the corpus was annotated for."""
        return self.manifest.language

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer, as a transformers object."""
        from ernie_cmtl.corpus.tokenizer import load_tokenizer, vocabulary_hash

        tokenizer = load_tokenizer(self.folder / "tokenizer")
        if vocabulary_hash(tokenizer) != self.manifest.vocabulary_hash:
            raise UserError(f"corpus {self.folder} is damaged: its tokenizer is not the one that it was built with")
        return tokenizer

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What tasks need to know of the tokenizer."""
        from ernie_cmtl.corpus.tokenizer import vocabulary_of

        return vocabulary_of(self.tokenizer)

    @cached_property
    def profile(self) -> CorpusProfile:
        """What tasks need to know of the corpus."""
        manifest = self.manifest
        layers, spans = tuple(manifest.layers), tuple(manifest.spans)
        return CorpusProfile(manifest.language, self.vocabulary, layers, spans, manifest.layer_options)

    @cached_property
    def verified(self) -> bool:
        """Read every file once and compare it with its hash.

        Raises:
            UserError: A file is missing or not what it was when the corpus was built.
        """
        files = dict(self._files())
        with ThreadPoolExecutor() as pool:
            for path, found in zip(files, pool.map(_hash_if_there, files), strict=True):
                if found != files[path]:
                    what = "is missing" if found is None else "was changed since the corpus was built"
                    raise UserError(f"corpus {self.folder} is damaged: {path.relative_to(self.folder)} {what}")
        return True

    def _files(self) -> Iterator[tuple[Path, str]]:
        for name, expected in self.manifest.files.items():
            yield self.folder / name, expected
        for shard in self.manifest.shards:
            for name, expected in shard.hashes.items():
                yield self.folder / "shards" / shard.name / f"{name}.npy", expected
        for table_name, table in self.manifest.labelled.items():
            for name, expected in table.hashes.items():
                yield self.folder / "labelled" / table_name / name, expected

    def split(self, name: Split) -> TextSplit:
        """Open a split; the first one opened verifies the files.

        Raises:
            UserError: A file is missing or damaged.
        """
        assert self.verified
        if name not in self._splits:
            self._splits[name] = self._open(name)
        return self._splits[name]

    def _open(self, name: Split) -> TextSplit:
        shards = [shard for shard in self.manifest.shards if shard.extent(name).tokens]
        starts = np.cumsum([0] + [shard.extent(name).tokens for shard in shards])
        sentences = np.cumsum([0] + [shard.extent(name).sentences for shard in shards])
        arrays, sentence_parts, document_parts = [], [np.zeros(1, dtype=np.int64)], [np.zeros(1, dtype=np.int64)]
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
            [shard.source for shard in shards],
            arrays,
        )

    def labelled(self, name: str, split: Split) -> LabelledRows:
        """Open a split of labelled rows.

        Raises:
            UserError: There are none of this name, or a file is missing or damaged.
        """
        assert self.verified
        tables = self.manifest.labelled
        if name not in tables:
            there = ", ".join(tables) or "none"
            raise UserError(f"corpus {self.folder} has no labelled rows named {name!r}; there are: {there}")
        return open_rows(self.folder / "labelled" / name, tables[name], split)

    def _shard(self, shard: Shard, split: Split) -> tuple[dict[str, Array], IntArray, IntArray]:
        """Return the arrays of one split of a shard and where its sentences and documents end."""
        folder = self.folder / "shards" / shard.name
        before = shard.train if split == "heldout" else None
        tokens, sentences, documents = (before.tokens, before.sentences, before.documents) if before else (0, 0, 0)
        extent = shard.extent(split)
        names = ("token_ids", *self.manifest.layers)
        arrays = {name: read_array(folder / f"{name}.npy")[tokens : tokens + extent.tokens] for name in names}
        sentence_offsets = read_array(folder / "sentence_offsets.npy")
        document_offsets = read_array(folder / "document_offsets.npy")
        sentence_ends = sentence_offsets[sentences + 1 : sentences + 1 + extent.sentences] - tokens
        document_ends = document_offsets[documents + 1 : documents + 1 + extent.documents] - sentences
        return arrays, sentence_ends, document_ends


def _hash_if_there(path: Path) -> str | None:
    return file_hash(path) if path.is_file() else None
