"""The first step of a build: read everything once, hold documents out, and make the tokenizer."""

import json
from contextlib import suppress
from functools import partial

from ernie_cmtl.atomic_files import read_array, write_text
from ernie_cmtl.corpus.build.executor import Processes
from ernie_cmtl.corpus.build.held_out import HeldoutRule
from ernie_cmtl.corpus.build.make_tokenizer import save_given, train
from ernie_cmtl.corpus.build.scan import Scan, TextSample, scan
from ernie_cmtl.corpus.build.seen_texts import SeenTexts
from ernie_cmtl.corpus.build.steps import Build
from ernie_cmtl.corpus.store.manifest import as_json
from ernie_cmtl.errors import UserError


def scan_inputs(build: Build, workers: Processes) -> Scan:
    """Read everything once and make the tokenizer, or return what was found when this was done
    before.
    """
    request = build.request
    path = request.state / "scan.json"
    if path.is_file():
        return Scan.model_validate(json.loads(path.read_bytes()))
    database = request.state / "seen.sqlite"
    database.unlink(missing_ok=True)
    config, base = request.config, request.base
    # Loading one takes longer than reading a few documents, so a worker does it meanwhile.
    given = None if base else config.tokenizer.name_or_path
    saved = workers.start(partial(save_given, build.folder), [given] if given else [])
    sources = {item.source for item in request.inputs}
    rules = {
        name: HeldoutRule(config.heldout_fraction, config.heldout_minimum)
        for name in sorted(sources)
    }
    sample = None if base or given else TextSample(config.tokenizer.sample_bytes)
    with build.step("scan"):
        seen = SeenTexts(database)
        _add_known(seen, build)
        try:
            found = scan(request.inputs, config.reader, request.first_document, seen, rules, sample)
        except UserError:
            # The build is given up now, and nobody may write into its folder later.
            if workers.pool:
                with suppress(UserError):
                    saved()
            raise
        # Where a source had text before, what is held out stays as it was.
        found.heldout_below |= {
            name: value
            for name, value in (base.heldout_below if base else {}).items()
            if name in sources
        }
        seen.save()
        seen.close()
    if not base:
        with build.step("tokenizer", documents=found.used):
            build.tokenizer = (
                train(build.folder, sample.texts(found.heldout_below), config.tokenizer)
                if sample
                else saved()[0]
            )
    write_text(path, as_json(found))
    return found


def _add_known(seen: SeenTexts, build: Build) -> None:
    """Add the texts that the corpus has already."""
    for shard in build.base_shards:
        if shard.hashes:
            path = build.folder / "shards" / shard.name / "digests.npy"
            seen.add_known(bytes(row) for row in read_array(path))
