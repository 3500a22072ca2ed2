"""The last step of a build: describe all that stands in the folder."""

from ernie_cmtl.atomic_files import file_hash
from ernie_cmtl.corpus.build.scan import Scan
from ernie_cmtl.corpus.build.steps import Build
from ernie_cmtl.corpus.layers import FittedLayer
from ernie_cmtl.corpus.store.labelled import table_profile
from ernie_cmtl.corpus.store.manifest import STRUCTURE, Addition, LabelledTable, Manifest, Shard
from ernie_cmtl.corpus.tokens.titles import TITLES
from ernie_cmtl.corpus.tokens.tokenizer import TokenizerFacts


def describe(
    build: Build,
    found: Scan | None,
    shards: list[Shard],
    tables: dict[str, LabelledTable],
    tokenizer: TokenizerFacts,
) -> Manifest:
    """Describe all that stands in the folder now."""
    request, base = build.request, build.request.base
    layers = request.layers
    of_documents = [
        name
        for name, layer in layers.items()
        if isinstance(layer, FittedLayer) and layer.of_documents
    ]
    additions = list(base.additions) if base else []
    if found:
        inputs = [(item.source, item.input.label) for item in request.inputs]
        reader = request.config.reader.model_dump(mode="json")
        additions.append(
            Addition(
                inputs=inputs,
                documents=found.documents,
                encodings=found.encodings,
                skipped=dict(request.skipped),
                reader=reader,
                first_shard=len(build.base_shards),
            )
        )
    files = [
        file
        for part in ("tokenizer", "fitted")
        for file in sorted((build.folder / part).rglob("*"))
        if file.is_file()
    ]
    mixture = request.config.mixture
    return Manifest(
        language=request.language,
        layers=[*_kept_layers(shards, tables, {*STRUCTURE, *layers}), *layers],
        spans=[name for name, layer in layers.items() if layer.marks_spans],
        document_layers=[*([TITLES] if request.keeps_titles else []), *of_documents],
        layer_options={
            name: layer.options.model_dump(mode="json") for name, layer in layers.items()
        },
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


def _kept_layers(
    shards: list[Shard], tables: dict[str, LabelledTable], others: set[str]
) -> list[str]:
    """Return the layers that are there and not among others, each one once."""
    named = next((list(shard.hashes) for shard in shards if shard.hashes), None)
    if named is None:
        # Of labelled rows alone.
        named = [name for table in tables.values() for name in table_profile(table).layers]
    return [name for name in dict.fromkeys(named) if name not in others]
