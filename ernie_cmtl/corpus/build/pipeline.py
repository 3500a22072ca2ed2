"""Raw text -> annotated corpus: scan, tokenizer, annotation in worker processes, fitted layers, labelled rows, manifest.

Each step leaves whole files behind or none, and is passed over when they are there: a build that was broken off goes on.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ernie_cmtl.atomic_files import file_hash, new_file, read_array, remove_folder, write_folder, write_text
from ernie_cmtl.corpus.build.add_labelled import add_labelled, read_table
from ernie_cmtl.corpus.build.add_layers import add_text_layers
from ernie_cmtl.corpus.build.executor import Processes, annotation_processes
from ernie_cmtl.corpus.build.fit_layers import add_fitted_layers, mark_rows
from ernie_cmtl.corpus.build.held_out import HeldoutRule
from ernie_cmtl.corpus.build.progress import Progress, Reporter
from ernie_cmtl.corpus.build.request import Request, begin, changed_files, check_unchanged, give_up
from ernie_cmtl.corpus.build.scan import Scan, TextSample, scan
from ernie_cmtl.corpus.build.seen_texts import SeenTexts
from ernie_cmtl.corpus.build.shards import annotated_shards, cut_shards, finished_shards, shard_arrays, write_shard
from ernie_cmtl.corpus.build.summary import summary
from ernie_cmtl.corpus.layers import FittedLayer, TextLayer
from ernie_cmtl.corpus.read.sources import Numbered, numbered_documents
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.store.manifest import MANIFEST, PARTS, REJECTS, STRUCTURE, Addition, LabelledTable, Manifest, Shard
from ernie_cmtl.corpus.tokens.scripts import letters_by_script
from ernie_cmtl.corpus.tokens.titles import TITLES, title_rows
from ernie_cmtl.corpus.tokens.tokenizer import TokenizerFacts, load_tokenizer, raw_text_tokenizer, train_wordpiece
from ernie_cmtl.errors import UserError
from ernie_cmtl.sole_writer import sole_writer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class _Build:
    """What the steps of a build share."""

    request: Request
    report: Reporter
    asked: dict[str, Any]
    """What the request was when the build began, with a stamp of every file."""
    seconds: dict[str, float] = field(default_factory=dict)
    tokenizer: TokenizerFacts | None = None
    """None where it was made before this build, or before a break."""

    @property
    def folder(self) -> Path:
        return self.request.folder

    @property
    def base_shards(self) -> list[Shard]:
        return self.request.base.shards if self.request.base else []

    @contextmanager
    def step(self, name: str, total: int = 0, documents: int = 0) -> Iterator[None]:
        start = time.perf_counter()
        self.report(Progress(name, 0, total, documents))
        yield
        self.seconds[name] = time.perf_counter() - start


def build(request: Request, processes: int, report: Reporter, restart: bool = False) -> dict[str, Any]:
    """Do what was asked for, or go on with it, and return the corpus's counts, sizes, seconds per step and fingerprint.

    restart: give up an unfinished build in the folder, whatever it was for.

    Raises:
        UserError: An unfinished build of something else, another process that writes in the folder, a symbolic link in it, no
            usable text, or text that changed while it was read.
    """
    with sole_writer(request.folder, PARTS) as writer:
        check_unchanged(request)
        if request.base:
            Corpus(request.folder).verify()
        for table in request.config.labelled.values():
            read_table(table)
        build = _Build(request, report, begin(request, restart))
        manifest = _built(build, processes)
        writer.check()
        _finish(build, manifest)
    return summary(manifest, build.folder, build.seconds, request.config.warn_unknown_rate)


def _built(build: _Build, processes: int) -> Manifest:
    """Make all that is asked for and not there yet, and describe the corpus."""
    request = build.request
    providers = {name: layer for name, layer in request.layers.items() if isinstance(layer, TextLayer)}
    with annotation_processes(processes, build.folder / "tokenizer", request.language, providers) as workers:
        try:
            found = _scan(build, workers) if request.inputs else None
        except UserError:
            give_up(request)
            raise
        tokenizer = build.tokenizer or TokenizerFacts.of(load_tokenizer(build.folder / "tokenizer"))
        token_type: npt.DTypeLike = np.uint16 if tokenizer.vocabulary.size <= 1 << 16 else np.uint32
        if request.base and (added := [name for name in request.new_layers if name in providers]):
            with build.step("layers", request.base.bytes):
                news = partial(_tell, build, "layers", request.base.bytes)
                add_text_layers(build.folder, request.base, added, workers, news)
        shards = list(build.base_shards)
        if found:
            shards += _new_shards(build, found, token_type, tokenizer.unknown_id, workers)
        if changed := _changed(build):
            raise changed
        if not any(shard.train.tokens for shard in shards):
            raise UserError("no usable document: not one of the training split holds a token of the vocabulary")
        with build.step("fitted"):
            add_fitted_layers(build.folder, request.layers, shards, tokenizer.vocabulary, workers)
        tables = dict(request.base.labelled) if request.base else {}
        if request.config.labelled:
            with build.step("labelled"):
                tables |= _labelled(build, token_type, workers)
            if changed := _changed(build):
                raise changed
    return _manifest(build, found, shards, tables, tokenizer)


def _tell(build: _Build, stage: str, total: int, done: int, documents: int) -> None:
    build.report(Progress(stage, done, total, documents))


def _scan(build: _Build, workers: Processes) -> Scan:
    """Read everything once and make the tokenizer, or return what was found when this was done before."""
    request = build.request
    path = request.state / "scan.json"
    if path.is_file():
        return Scan.model_validate_json(path.read_bytes())
    database = request.state / "seen.sqlite"
    database.unlink(missing_ok=True)
    config, base = request.config, request.base
    # Loading one takes longer than reading a few documents, so a worker does it meanwhile.
    given = None if base else config.tokenizer.name_or_path
    saved = workers.start(partial(_save_given, build.folder), [given] if given else [])
    sources = {item.source for item in request.inputs}
    rules = {name: HeldoutRule(config.heldout_fraction, config.heldout_minimum) for name in sorted(sources)}
    sample = None if base or given else TextSample(config.tokenizer.sample_bytes)
    with build.step("scan"):
        seen = SeenTexts(database)
        for shard in build.base_shards:
            if shard.hashes:
                seen.add_known(bytes(row) for row in read_array(build.folder / "shards" / shard.name / "digests.npy"))
        try:
            found = scan(request.inputs, config.reader, request.first_document, seen, rules, sample)
        except UserError:
            # The build is given up now, and nobody may write into its folder later.
            if workers.pool:
                with suppress(UserError):
                    saved()
            raise
        # Where a source had text before, what is held out stays as it was.
        found.heldout_below |= {name: value for name, value in (base.heldout_below if base else {}).items() if name in sources}
        seen.save()
        seen.close()
    if not base:
        with build.step("tokenizer", documents=found.used):
            build.tokenizer = _train(build, sample, found) if sample else saved()[0]
    write_text(path, found.model_dump_json(indent=1))
    return found


def _train(build: _Build, sample: TextSample, found: Scan) -> TokenizerFacts:
    """Train a tokenizer on the sample and save it."""
    tokenizer = train_wordpiece(sample.texts(found.heldout_below), build.request.config.tokenizer)
    if len(tokenizer) == len(tokenizer.all_special_ids):
        raise UserError("no usable document: a vocabulary trained on the text would be empty")
    return _save(build.folder, tokenizer)


def _save_given(folder: Path, name_or_path: str) -> TokenizerFacts:
    """Load the tokenizer that was asked for and save it; in any process."""
    return _save(folder, load_tokenizer(name_or_path))


def _save(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> TokenizerFacts:
    remove_folder(folder / "tokenizer")
    write_folder(folder / "tokenizer", lambda path: tokenizer.save_pretrained(str(path)))
    return TokenizerFacts.of(tokenizer)


def _new_shards(build: _Build, found: Scan, token_type: npt.DTypeLike, unknown_id: int | None, workers: Processes) -> list[Shard]:
    """Annotate the text that is not in a finished shard yet, and return all shards of it."""
    request = build.request
    folder = build.folder / "shards"
    tokenizer = raw_text_tokenizer(build.folder / "tokenizer") if request.keeps_titles else None
    before = len(build.base_shards)
    shards = finished_shards(folder, before)
    start = shards[-1].first + shards[-1].read if shards else request.first_document
    end = request.first_document + sum(found.documents)
    seen = SeenTexts(request.state / "seen.sqlite")
    done_bytes = sum(shard.bytes for shard in shards)
    with build.step("annotation", found.bytes):
        documents = numbered_documents(request.inputs, found.documents, request.config.reader, request.first_document, start)
        counted = _counted(documents, build, end)
        cut = cut_shards(counted, partial(_is_first, build, seen), request.config.shard_bytes, before + len(shards))
        news = lambda size, count: _tell(build, "annotation", found.bytes, done_bytes + size, count)  # noqa: E731
        for text, annotated in annotated_shards(cut, workers, news):
            titles = title_rows([document.title for _, document in text.documents], tokenizer, token_type) if tokenizer else None
            shard, arrays = shard_arrays(text, annotated, found.heldout_below[text.source], token_type, titles)
            if arrays:
                # No token equals None, the number that a tokenizer without an unknown token gives.
                shard.unknown_tokens = int(np.count_nonzero(arrays["token_ids"] == unknown_id))
                used = zip(text.documents, annotated, strict=True)
                shard.scripts = letters_by_script(document.text for (_, document), tokens in used if len(tokens.token_ids))
            write_shard(folder, shard, arrays, text.rejected)
            shards.append(shard)
    seen.close()
    return shards


def _is_first(build: _Build, seen: SeenTexts, number: int, digest: bytes) -> bool:
    first = seen.first(digest)
    if first is None:
        raise _changed(build) or UserError("a document is not the one that was scanned; start again with --restart")
    return first == number


def _counted(documents: Iterator[Numbered], build: _Build, end: int) -> Iterator[Numbered]:
    """Pass documents on; raises where they are not as many as were scanned."""
    last = None
    for row in documents:
        last = row[0]
        yield row
    if last is not None and last + 1 != end:
        raise _changed(build) or UserError(f"{end} documents were scanned, {last + 1} read; start again with --restart")


def _changed(build: _Build) -> UserError | None:
    """Say which input is not what it was when the build began, if one is."""
    names = changed_files(build.asked, build.request)
    what = f"{', '.join(names)} was changed or removed while the corpus was built; start again with --restart"
    return UserError(what) if names else None


def _labelled(build: _Build, token_type: npt.DTypeLike, workers: Processes) -> dict[str, LabelledTable]:
    config = build.request.config
    found = {}
    for name, table in config.labelled.items():
        rule = HeldoutRule(config.heldout_fraction, config.heldout_minimum)
        folder = build.folder / "labelled" / name
        found[name] = add_labelled(folder, table, rule, token_type, workers)
        mark_rows(build.folder, build.request.layers, found[name], folder)
    return found


def _manifest(
    build: _Build, found: Scan | None, shards: list[Shard], tables: dict[str, LabelledTable], tokenizer: TokenizerFacts
) -> Manifest:
    """Describe all that stands in the folder now."""
    request, base = build.request, build.request.base
    named = next(shard for shard in shards if shard.hashes).hashes
    layers = request.layers
    of_documents = [name for name, layer in layers.items() if isinstance(layer, FittedLayer) and layer.of_documents]
    additions = list(base.additions) if base else []
    if found:
        inputs = [(item.source, item.input.label) for item in request.inputs]
        reader = request.config.reader.model_dump(mode="json")
        additions.append(Addition(inputs=inputs, documents=found.documents, reader=reader, first_shard=len(build.base_shards)))
    files = [file for part in ("tokenizer", "fitted") for file in sorted((build.folder / part).rglob("*")) if file.is_file()]
    mixture = request.config.mixture
    return Manifest(
        language=request.language,
        layers=[*(name for name in named if name not in STRUCTURE and name not in layers), *layers],
        spans=[name for name, layer in layers.items() if layer.marks_spans],
        document_layers=[*([TITLES] if request.keeps_titles else []), *of_documents],
        layer_options={name: layer.options.model_dump(mode="json") for name, layer in layers.items()},
        vocabulary_size=tokenizer.vocabulary.size,
        vocabulary_hash=tokenizer.hash,
        heldout_below=(base.heldout_below if base else {}) | (found.heldout_below if found else {}),
        mixture=mixture if mixture is not None or not base else base.mixture,
        settings=base.settings if base else request.config.model_dump(mode="json"),
        additions=additions,
        files={str(file.relative_to(build.folder)): file_hash(file) for file in files},
        shards=shards,
        labelled=tables,
    )


def _finish(build: _Build, manifest: Manifest) -> None:
    """Write the reject log and the manifest, which makes the folder a corpus."""
    logs = (build.folder / "shards" / shard.name / "rejects.jsonl" for shard in manifest.shards)
    with new_file(build.folder / REJECTS) as stream:
        for log in logs:
            stream.write(log.read_bytes())
    write_text(build.folder / MANIFEST, manifest.model_dump_json(indent=1))
    remove_folder(build.request.state)
