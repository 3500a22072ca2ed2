"""The corpus on disk: shards of memory-mapped arrays, one file a layer, described by a manifest."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from ernie_cmtl.errors import UserError
from ernie_cmtl.records import AnnotatedText, Array, IntArray, Language, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 1
Split = Literal["train", "heldout"]
STRUCTURE = ("token_ids", "sentence_offsets", "document_offsets")


class Shard(BaseModel):
    """One shard: a folder of `.npy` files."""

    model_config = ConfigDict(extra="forbid")

    name: str
    split: Split
    documents: int
    sentences: int
    tokens: int
    hashes: dict[str, str]
    """Array name -> SHA-256 of its file."""


class Manifest(BaseModel):
    """What a corpus holds and how it was made."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    language: Language
    layers: list[str]
    vocabulary_size: int
    vocabulary_hash: str
    documents: dict[str, int]
    """Counts: read = used + rejected + duplicates; `heldout` is part of used."""
    rejections: dict[str, int]
    """Reason -> count."""
    bytes: int
    """UTF-8 bytes of the used documents."""
    settings: dict[str, Any]
    collocations: int
    shards: list[Shard]

    @property
    def fingerprint(self) -> str:
        """Return the name of exactly this content: the same documents, tokens and layers, the same fingerprint."""
        content = self.model_dump(mode="json", exclude={"settings"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def count(self, name: Literal["documents", "sentences", "tokens"], split: Split | None = None) -> int:
        """Return documents, sentences or tokens of a split, or of all."""
        return sum(int(getattr(shard, name)) for shard in self.shards if split in (None, shard.split))


def write_array(path: Path, array: Array) -> str:
    """Write an array as `.npy` and return the SHA-256 of the file."""
    with path.open("wb") as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)
    return file_hash(path)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_array(path: Path) -> Array:
    """Map a `.npy` file into memory, read-only."""
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


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
        return AnnotatedText(token_ids, offsets, {name: np.asarray(arrays[name][span]) for name in layers})


def _parsed(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged: it holds no mapping")
    return found


class Corpus:
    """A corpus that was prepared: manifest, tokenizer and splits."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / "manifest.json"
        if not path.is_file():
            raise UserError(f"no corpus at {self.folder}: manifest.json is missing; make one with the verb prepare")
        found = _parsed(path)
        if found.get("format") != FORMAT:
            raise UserError(f"corpus {self.folder} has format {found.get('format')}; this version reads {FORMAT}")
        try:
            self.manifest = Manifest.model_validate(found)
        except ValidationError as error:
            raise UserError(
                f"{path} is no manifest of this version: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}"
            ) from error

    @property
    def language(self) -> Language:
        """Language that the corpus was annotated for."""
        return self.manifest.language

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer, as a transformers object."""
        from ernie_cmtl.corpus.tokenizer import load_tokenizer

        return load_tokenizer(self.folder / "tokenizer")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What tasks need to know of the tokenizer."""
        from ernie_cmtl.corpus.tokenizer import vocabulary_of

        return vocabulary_of(self.tokenizer)

    def split(self, name: Split) -> TextSplit:
        """Open a split."""
        shards = [shard for shard in self.manifest.shards if shard.split == name]
        names = ("token_ids", *self.manifest.layers)
        starts = np.cumsum([0] + [shard.tokens for shard in shards])
        sentences = np.cumsum([0] + [shard.sentences for shard in shards])
        arrays, sentence_parts, document_parts = [], [np.zeros(1, dtype=np.int64)], [np.zeros(1, dtype=np.int64)]
        for shard, start, sentence in zip(shards, starts, sentences, strict=False):
            folder = self.folder / "shards" / shard.name
            arrays.append({layer: read_array(folder / f"{layer}.npy") for layer in names})
            sentence_parts.append(read_array(folder / "sentence_offsets.npy")[1:] + start)
            document_parts.append(read_array(folder / "document_offsets.npy")[1:] + sentence)
        return TextSplit(
            int(starts[-1]), np.concatenate(document_parts), np.concatenate(sentence_parts), starts[: len(shards)], arrays
        )


class ShardWriter:
    """Collects annotated documents of one split and writes a shard whenever enough tokens stand together."""

    def __init__(self, folder: Path, split: Split, token_type: npt.DTypeLike, shard_tokens: int) -> None:
        self._folder, self._split, self._token_type, self._limit = folder, split, token_type, shard_tokens
        self._documents: list[AnnotatedText] = []
        self._tokens = 0
        self.shards: list[Shard] = []

    def add(self, document: AnnotatedText) -> None:
        """Take a document; a full shard is written first."""
        size = len(document.token_ids)
        if self._documents and self._tokens + size > self._limit:
            self.flush()
        self._documents.append(document)
        self._tokens += size

    def flush(self) -> None:
        """Write what is collected as a shard."""
        if not self._documents:
            return
        documents, self._documents, self._tokens = self._documents, [], 0
        name = f"{self._split}-{len(self.shards):05d}"
        folder = self._folder / name
        folder.mkdir(parents=True)
        lengths = np.concatenate([np.diff(d.sentence_offsets) for d in documents])
        arrays: dict[str, Array] = {
            "token_ids": np.concatenate([d.token_ids for d in documents]).astype(self._token_type),
            "sentence_offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            "document_offsets": np.cumsum([0] + [d.sentences for d in documents]).astype(np.int64),
        }
        for layer in documents[0].layers:
            arrays[layer] = np.concatenate([d.layers[layer] for d in documents])
        hashes = {key: write_array(folder / f"{key}.npy", array) for key, array in arrays.items()}
        self.shards.append(
            Shard(
                name=name,
                split=self._split,
                documents=len(documents),
                sentences=len(lengths),
                tokens=len(arrays["token_ids"]),
                hashes=hashes,
            )
        )
