"""Raw text -> annotated corpus: scan, tokenizer, annotation in worker processes, fitted layers,
labelled rows, manifest.

Each step leaves whole files behind or none, and is passed over when they are there: a build that
was broken off goes on.
"""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ernie_cmtl.atomic_files import new_file, remove_folder, write_text
from ernie_cmtl.corpus.build.add_labelled import add_labelled
from ernie_cmtl.corpus.build.add_layers import add_text_layers
from ernie_cmtl.corpus.build.describe import describe
from ernie_cmtl.corpus.build.executor import Processes, annotation_processes
from ernie_cmtl.corpus.build.fit_layers import add_fitted_layers, mark_rows
from ernie_cmtl.corpus.build.held_out import HeldoutRule
from ernie_cmtl.corpus.build.labelled_table import read_table
from ernie_cmtl.corpus.build.make_tokenizer import tokenizer_of_tables
from ernie_cmtl.corpus.build.new_shards import new_shards
from ernie_cmtl.corpus.build.progress import Reporter
from ernie_cmtl.corpus.build.request import Request, begin, check_unchanged, give_up
from ernie_cmtl.corpus.build.scan_inputs import scan_inputs
from ernie_cmtl.corpus.build.steps import Build
from ernie_cmtl.corpus.build.summary import small_vocabulary, summary
from ernie_cmtl.corpus.layers import TextLayer
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.store.manifest import (
    MANIFEST,
    PARTS,
    REJECTS,
    LabelledTable,
    Manifest,
    as_json,
)
from ernie_cmtl.corpus.tokens.tokenizer import TokenizerFacts, load_tokenizer
from ernie_cmtl.errors import UserError
from ernie_cmtl.sole_writer import sole_writer


def build(
    request: Request, processes: int, report: Reporter, restart: bool = False
) -> dict[str, Any]:
    """Do what was asked for, or go on with it, and return the corpus's counts, sizes, seconds per
    step and fingerprint.

    restart: give up an unfinished build in the folder, whatever it was for.

    Raises:
        UserError: An unfinished build of something else, another process that writes in the folder,
            a symbolic link in it, no usable text, or text that changed while it was read.
    """
    with sole_writer(request.folder, PARTS) as writer:
        check_unchanged(request)
        if request.base:
            Corpus(request.folder).verify()
        for table in request.config.labelled.values():
            read_table(table, request.language)
        build = Build(request, report, begin(request, restart))
        manifest = _built(build, processes)
        writer.check()
        _finish(build, manifest)
    found = summary(manifest, build.folder, build.seconds, request.config.warn_unknown_rate)
    # Once: what is added later finds the vocabulary as it is.
    if not request.base:
        found["warnings"] += small_vocabulary(manifest.vocabulary_size, request.config.tokenizer)
    return found


def _built(build: Build, processes: int) -> Manifest:
    """Make all that is asked for and not there yet, and describe the corpus."""
    request = build.request
    providers = {
        name: layer for name, layer in request.layers.items() if isinstance(layer, TextLayer)
    }
    with annotation_processes(
        processes, build.folder / "tokenizer", request.language, providers
    ) as workers:
        try:
            found = scan_inputs(build, workers) if request.inputs else None
            if not (found or request.base):
                tokenizer_of_tables(build)
        except UserError:
            give_up(request)
            raise
        tokenizer = build.tokenizer or TokenizerFacts.of(load_tokenizer(build.folder / "tokenizer"))
        token_type: npt.DTypeLike = np.uint16 if tokenizer.vocabulary.size <= 1 << 16 else np.uint32
        if request.base and (added := [name for name in request.new_layers if name in providers]):
            with build.step("layers", request.base.bytes):
                news = partial(build.tell, "layers", request.base.bytes)
                add_text_layers(build.folder, request.base, added, workers, news)
        shards = list(build.base_shards)
        if found:
            shards += new_shards(build, found, token_type, tokenizer.unknown_id, workers)
        if changed := build.changed():
            raise changed
        if shards and not any(shard.train.tokens for shard in shards):
            raise UserError(
                "no usable document: not one of the training split holds a token of the vocabulary"
            )
        with build.step("fitted"):
            add_fitted_layers(build.folder, request.layers, shards, tokenizer.vocabulary, workers)
        tables = dict(request.base.labelled) if request.base else {}
        if request.config.labelled:
            with build.step("labelled"):
                tables |= _labelled(build, token_type, workers)
            if changed := build.changed():
                raise changed
    return describe(build, found, shards, tables, tokenizer)


def _labelled(
    build: Build, token_type: npt.DTypeLike, workers: Processes
) -> dict[str, LabelledTable]:
    config = build.request.config
    found = {}
    for name, table in config.labelled.items():
        rule = HeldoutRule(config.heldout_fraction, config.heldout_minimum)
        folder = build.folder / "labelled" / name
        found[name] = add_labelled(folder, table, rule, build.request.language, token_type, workers)
        mark_rows(build.folder, build.request.layers, found[name], folder)
    return found


def _finish(build: Build, manifest: Manifest) -> None:
    """Write the reject log and the manifest, which makes the folder a corpus."""
    logs = (build.folder / "shards" / shard.name / "rejects.jsonl" for shard in manifest.shards)
    with new_file(build.folder / REJECTS) as stream:
        for log in logs:
            stream.write(log.read_bytes())
    write_text(build.folder / MANIFEST, as_json(manifest))
    remove_folder(build.request.state)
