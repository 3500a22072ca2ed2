"""Raw text -> annotated corpus: scan, tokenizer, annotation in worker processes, collocations, manifest."""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from ernie_cmtl.corpus.collocations import CollocationConfig
from ernie_cmtl.corpus.processes import Processes, annotate_texts, annotation_processes
from ernie_cmtl.corpus.readers import Input, ReaderConfig, find_inputs
from ernie_cmtl.corpus.scan import Scan, SeenTexts, numbered_documents, scan, split_hash, text_digest
from ernie_cmtl.corpus.store import STRUCTURE, Manifest, Shard, ShardWriter
from ernie_cmtl.corpus.tokenizer import TokenizerConfig, load_tokenizer, train_wordpiece, vocabulary_hash, vocabulary_of
from ernie_cmtl.corpus.units import add_units
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Language, Rejection

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH_BYTES = 1 << 20
_MARKER = "building"


class PrepareConfig(BaseModel):
    """How a corpus is built from text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reader: ReaderConfig = ReaderConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    collocations: CollocationConfig = CollocationConfig()
    heldout_fraction: float = Field(0.01, ge=0, lt=1)
    """Part of the documents that is held out, chosen by the hash of their text."""
    heldout_minimum: int = Field(16, ge=1)
    """At least so many documents are held out, but never more than a quarter."""
    shard_tokens: int = Field(4_000_000, ge=1)


@dataclass
class Progress:
    """How far a stage is; handed to the reporter after each piece of work."""

    stage: str
    done: int
    total: int
    documents: int = 0


Reporter = Callable[[Progress], None]


@dataclass
class _Counts:
    read: int = 0
    used: int = 0
    duplicates: int = 0
    heldout: int = 0
    bytes: int = 0
    rejections: Counter[str] = field(default_factory=Counter)

    @property
    def documents(self) -> dict[str, int]:
        """The balance: read = used + rejected + duplicates."""
        return {
            "read": self.read,
            "used": self.used,
            "rejected": self.rejections.total(),
            "duplicates": self.duplicates,
            "heldout": self.heldout,
        }


def prepare(
    inputs: list[str], output: Path, language: Language, config: PrepareConfig, processes: int, report: Reporter
) -> dict[str, Any]:
    """Build a corpus and return its counts, sizes, seconds per stage and fingerprint.

    Raises:
        UserError: A path, folder or tokenizer that cannot be used, no usable text, or an output folder that is not free.
    """
    inside = Path(os.path.abspath(output))
    sources = [source for source in find_inputs(inputs) if not source.inside(inside)]
    if not sources:
        raise UserError(f"no input outside of --output {output}")
    _claim(output)
    seconds: dict[str, float] = {}
    with _timed(seconds, "scan"):
        seen = SeenTexts(output / "seen.sqlite")
        sample_bytes = None if config.tokenizer.name_or_path else config.tokenizer.sample_bytes
        report(Progress("scan", 0, 0))
        found = scan(sources, config.reader, seen, config.heldout_fraction, config.heldout_minimum, sample_bytes)
    with _timed(seconds, "tokenizer"):
        report(Progress("tokenizer", 0, 0, found.documents))
        tokenizer = _tokenizer(found, config.tokenizer)
        tokenizer.save_pretrained(str(output / "tokenizer"))
    with annotation_processes(processes, output / "tokenizer", language) as workers:
        with _timed(seconds, "annotation"):
            report(Progress("annotation", 0, found.bytes))
            shards, counts = _annotate(found, seen, output, vocabulary_of(tokenizer).size, config, workers, report)
        with _timed(seconds, "collocations"):
            report(Progress("collocations", 0, 0, counts.used))
            collocations = add_units(output, shards, tokenizer, config.collocations, workers.map)
    seen.close()
    (output / "seen.sqlite").unlink()
    manifest = Manifest(
        language=language,
        layers=[name for name in shards[0].hashes if name not in STRUCTURE],
        vocabulary_size=vocabulary_of(tokenizer).size,
        vocabulary_hash=vocabulary_hash(tokenizer),
        documents=counts.documents,
        rejections=dict(sorted(counts.rejections.items())),
        bytes=counts.bytes,
        settings=config.model_dump(mode="json"),
        collocations=collocations,
        shards=shards,
    )
    _finish(output, manifest)
    return _summary(manifest, output, seconds)


def _tokenizer(found: Scan, config: TokenizerConfig) -> "PreTrainedTokenizerBase":
    """Load the tokenizer that was asked for, or train one on the sample, which is let go of."""
    if config.name_or_path:
        return load_tokenizer(config.name_or_path)
    assert found.sample is not None
    texts, found.sample = found.sample.texts(found.heldout_below), None
    return train_wordpiece(texts, config)


def _finish(output: Path, manifest: Manifest) -> None:
    """Write the manifest, which makes the folder a corpus."""
    partial = output / "manifest.json.partial"
    partial.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    partial.rename(output / "manifest.json")
    (output / _MARKER).unlink()


def _summary(manifest: Manifest, output: Path, seconds: dict[str, float]) -> dict[str, Any]:
    return {
        "documents": manifest.documents,
        "rejections": manifest.rejections,
        "sentences": manifest.count("sentences"),
        "tokens": manifest.count("tokens"),
        "bytes": manifest.bytes,
        "vocabulary_size": manifest.vocabulary_size,
        "collocations": manifest.collocations,
        "seconds": round(sum(seconds.values()), 3),
        "seconds_by_stage": {name: round(value, 3) for name, value in seconds.items()},
        "fingerprint": manifest.fingerprint,
        "corpus": str(output),
    }


def _claim(output: Path) -> None:
    """Take an output folder that is empty or holds a build that was broken off, which starts again."""
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file; name a folder")
    if (output / "manifest.json").exists():
        raise UserError(f"{output} holds a corpus already; choose another --output or remove it first")
    if output.is_dir() and any(output.iterdir()):
        if not (output / _MARKER).exists():
            raise UserError(f"{output} is not empty and no build of a corpus; choose another --output")
        for name in ("shards", "tokenizer", "lexicon"):
            shutil.rmtree(output / name, ignore_errors=True)
        (output / "seen.sqlite").unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    (output / _MARKER).touch()


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def _annotate(
    found: Scan, seen: SeenTexts, output: Path, vocabulary_size: int, config: PrepareConfig, workers: Processes, report: Reporter
) -> tuple[list[Shard], _Counts]:
    """Annotate every document that is used, in order, and write the shards of both splits."""
    token_type: npt.DTypeLike = np.uint16 if vocabulary_size <= 1 << 16 else np.uint32
    writers = {
        False: ShardWriter(output / "shards", "train", token_type, config.shard_tokens),
        True: ShardWriter(output / "shards", "heldout", token_type, config.shard_tokens),
    }
    counts = _Counts()
    done = 0
    with (output / "rejects.jsonl").open("w", encoding="utf-8") as rejects:

        def reject(source: Input, rejection: Rejection) -> None:
            counts.rejections[rejection.reason] += 1
            row = {"file": source.label, "document": rejection.identifier, "reason": rejection.reason, "detail": rejection.detail}
            rejects.write(json.dumps(row, ensure_ascii=False) + "\n")

        batches = _batches(found, seen, config.reader, counts, reject)
        for batch, texts in workers.map_with_input(annotate_texts, batches, _batch_texts):
            for (source, identifier, size, heldout), text in zip(batch.origins, texts, strict=True):
                if not len(text.token_ids):
                    reject(source, Rejection(identifier, "no_tokens"))
                    continue
                writers[heldout].add(text)
                counts.used += 1
                counts.heldout += heldout
                counts.bytes += size
            done += sum(size for _, _, size, _ in batch.origins)
            report(Progress("annotation", done, found.bytes, counts.used))
    for source, before in zip(found.inputs, found.stamps, strict=True):
        if source.stamp() != before:
            raise UserError(f"{source.label} was changed while the corpus was built; start prepare again")
    for writer in writers.values():
        writer.flush()
    if not writers[False].shards:
        raise UserError("no usable document: not one holds a token of the vocabulary")
    return writers[False].shards + writers[True].shards, counts


@dataclass
class _TextBatch:
    texts: list[str] = field(default_factory=list)
    origins: list[tuple[Input, str, int, bool]] = field(default_factory=list)
    """Input, document, bytes, held out."""


def _batch_texts(batch: _TextBatch) -> list[str]:
    return batch.texts


def _batches(
    found: Scan, seen: SeenTexts, config: ReaderConfig, counts: _Counts, reject: Callable[[Input, Rejection], None]
) -> Iterator[_TextBatch]:
    batch, size = _TextBatch(), 0
    for number, source, item in numbered_documents(found.inputs, config):
        counts.read += 1
        if isinstance(item, Rejection):
            reject(source, item)
            continue
        digest = text_digest(item.text)
        if not seen.is_first(digest, number):
            counts.duplicates += 1
            continue
        batch.texts.append(item.text)
        batch.origins.append((source, item.identifier, item.size, split_hash(digest) < found.heldout_below))
        size += item.size
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = _TextBatch(), 0
    if batch.texts:
        yield batch
