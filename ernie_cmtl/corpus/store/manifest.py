"""What a corpus holds and how it was made: the one file that makes a folder a corpus."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
)

from ernie_cmtl.errors import UserError
from ernie_cmtl.foreign_files import checked, exists, read_json
from ernie_cmtl.records import Language

FORMAT = 3
MANIFEST, REJECTS = "manifest.json", "rejects.jsonl"
PARTS = (MANIFEST, REJECTS, "building", "tokenizer", "shards", "fitted", "labelled")
"""What a corpus folder holds."""
Split = Literal["train", "heldout"]
SPLITS: tuple[Split, Split] = ("train", "heldout")
STRUCTURE = ("token_ids", "sentence_offsets", "document_offsets", "digests")
"""Arrays that every shard has; the others are annotation layers."""
LABELS = "labels-"
"""Beginning of the name of an array of labels; the number of the column follows, whose name may be
anything.
"""

NO_TAG = -1
"""Stands in an array of tags at each token that no tagged word begins at."""


def _inside(file: str) -> str:
    if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        raise ValueError("a file outside of the corpus")
    return file


def _both_splits(rows: dict[str, int]) -> dict[str, int]:
    if missing := [split for split in SPLITS if split not in rows]:
        raise ValueError(f"no count of {missing[0]}")
    return rows


# A manifest may come from others: what it names lies in its folder.
_Name = Annotated[str, StringConstraints(pattern=r"^[\w-]+$")]
_File = Annotated[str, AfterValidator(_inside)]


class Extent(BaseModel):
    """How much text of one split a shard holds."""

    model_config = ConfigDict(extra="forbid")

    documents: NonNegativeInt = 0
    sentences: NonNegativeInt = 0
    tokens: NonNegativeInt = 0


class Shard(BaseModel):
    """One shard: a folder of `.npy` files, its training documents first, then the held-out ones,
    each in reading order.
    """

    model_config = ConfigDict(extra="forbid")

    name: _Name
    source: str
    first: NonNegativeInt
    """Running number of the first document that was read for it."""
    read: NonNegativeInt
    """Documents read for it, used or not."""
    duplicates: NonNegativeInt
    repaired: NonNegativeInt = 0
    """Used documents in which something was replaced by U+FFFD."""
    rejections: dict[str, NonNegativeInt]
    """Reason -> count."""
    bytes: NonNegativeInt
    """UTF-8 bytes of its documents."""
    unknown_tokens: int | None = None
    """Tokens that stand for text which the vocabulary cannot spell; None: not counted, as in
    corpora of earlier versions.
    """
    scripts: dict[str, int] | None = None
    """Script -> letters of the used documents; None: not counted."""
    train: Extent
    heldout: Extent
    hashes: dict[_Name, str]
    """Array name -> SHA-256 of its file; none where no document was used."""

    def extent(self, split: Split) -> Extent:
        """Return how much of a split it holds."""
        return self.train if split == "train" else self.heldout


class Addition(BaseModel):
    """One reading of text into a corpus: the first, or text that was added later."""

    model_config = ConfigDict(extra="forbid")

    inputs: list[tuple[str, str]]
    """(source, file or dataset), in reading order."""
    documents: list[NonNegativeInt]
    """Documents read from each input."""
    encodings: dict[str, str] = {}
    """File that is not UTF-8 -> the encoding that it was read in."""
    skipped: dict[str, int] = {}
    """Ending of files in folders that were passed over, or why they were -> count."""
    reader: dict[str, Any]
    first_shard: NonNegativeInt


class LabelledColumn(BaseModel):
    """A column of a labelled table."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["text", "class", "number", "tags"]
    classes: list[str] = []
    """Names of the classes, or of the tags."""


class LabelledTable(BaseModel):
    """Labelled rows that stand beside the text."""

    model_config = ConfigDict(extra="forbid")

    columns: dict[str, LabelledColumn]
    rows: Annotated[dict[str, NonNegativeInt], AfterValidator(_both_splits)]
    """Counts: read = used + rejected + duplicates; `train` and `heldout` sum to used."""
    hashes: dict[_Name, str]
    """Array name -> SHA-256 of its file."""


class Manifest(BaseModel):
    """What a corpus holds."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    language: Language
    layers: list[_Name]
    spans: list[_Name]
    """Those of the layers that mark knowledge spans; where spans overlap, the first layer named
    wins.
    """
    document_layers: list[_Name]
    """Those of the layers that have a row for each document in place of a value for each token."""
    layer_options: dict[_Name, dict[str, Any]]
    """Layer -> the options that it was made with; added text gets the same."""
    vocabulary_size: PositiveInt
    vocabulary_hash: str
    heldout_below: dict[str, int]
    """Source -> documents with a smaller split hash are held out."""
    mixture: dict[str, float] | None
    """Source -> part of the tokens that training draws from it; none: as much as there is."""
    settings: dict[str, Any]
    additions: list[Addition]
    files: dict[_File, str]
    """File below the corpus folder that belongs to no shard -> SHA-256."""
    shards: list[Shard]
    labelled: dict[_Name, LabelledTable] = {}

    @property
    def fingerprint(self) -> str:
        """Return the name of exactly this content: the same documents, tokens and layers, the same
        fingerprint.
        """
        shards = {"__all__": {"unknown_tokens", "scripts"}}
        return digest(
            self.model_dump(
                mode="json", exclude={"settings": True, "additions": True, "shards": shards}
            )
        )

    def pin(self, layers: Iterable[str], tables: Iterable[str]) -> str:
        """Return the name of the content that some layers and labelled rows show: it stays when
        something else is added.
        """
        read = {*STRUCTURE, *layers}
        shards = [
            (shard.name, {k: v for k, v in shard.hashes.items() if k in read})
            for shard in self.shards
        ]
        rows = {name: self.labelled[name].hashes for name in sorted(tables)}
        return digest([self.vocabulary_hash, self.mixture, shards, rows])

    @property
    def sources(self) -> list[str]:
        """Names of the sources of the text, sorted."""
        return sorted({shard.source for shard in self.shards})

    @property
    def documents(self) -> dict[str, int]:
        """The balance: read = used + rejected + duplicates; `heldout` and `repaired` are parts of
        used.
        """
        return {
            "read": sum(shard.read for shard in self.shards),
            "used": self.count("documents"),
            "rejected": sum(self.rejections.values()),
            "duplicates": sum(shard.duplicates for shard in self.shards),
            "heldout": self.count("documents", "heldout"),
            "repaired": sum(shard.repaired for shard in self.shards),
        }

    @property
    def rejections(self) -> dict[str, int]:
        """Reason -> documents rejected for it."""
        counts: Counter[str] = Counter()
        for shard in self.shards:
            counts.update(shard.rejections)
        return dict(sorted(counts.items()))

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the used documents."""
        return sum(shard.bytes for shard in self.shards)

    def count(
        self,
        name: Literal["documents", "sentences", "tokens"],
        split: Split | None = None,
        source: str = "",
    ) -> int:
        """Return documents, sentences or tokens of a split or of all, of a source or of all."""
        shards = [shard for shard in self.shards if source in ("", shard.source)]
        return sum(
            getattr(shard.extent(s), name) for shard in shards for s in SPLITS if split in (None, s)
        )


def as_json(record: BaseModel) -> str:
    """Return a record of a corpus as JSON, which keeps file names whose bytes are not UTF-8."""
    # In mode "json", such names that are keys would become other names.
    return json.dumps(record.model_dump(), indent=1, ensure_ascii=False)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a corpus.

    Raises:
        UserError: There is none, it is damaged, or it is of another format.
    """
    path = folder / MANIFEST
    if not exists(path):
        unfinished = (
            "; a build was begun there: finish it with the same command"
            if exists(folder / "building")
            else ""
        )
        raise UserError(
            f"no corpus at {folder}: {MANIFEST} is missing; make one with the verb prepare, or "
            f"name the place that it was moved to with --corpus DIR{unfinished}"
        )
    found = read_json(path, dict[str, Any])
    if found.get("format") != FORMAT:
        raise UserError(
            f"corpus {folder} has format {found.get('format')}; this version reads {FORMAT}: "
            "prepare it again"
        )
    return checked(found, Manifest, str(path))


def digest(content: Any) -> str:
    """Return the SHA-256 of a value of JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
