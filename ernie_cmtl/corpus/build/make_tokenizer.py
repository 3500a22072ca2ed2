"""The tokenizer of a new corpus: trained on a sample of its text, or given."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ernie_cmtl.atomic_files import remove_folder, write_folder
from ernie_cmtl.corpus.build.digests import text_digest
from ernie_cmtl.corpus.build.held_out import HeldoutRule
from ernie_cmtl.corpus.build.labelled_table import distinct_and_complete, read_table
from ernie_cmtl.corpus.build.scan import TextSample
from ernie_cmtl.corpus.build.steps import Build
from ernie_cmtl.corpus.build.word_tags import Kind
from ernie_cmtl.corpus.tokens.tokenizer import (
    TokenizerConfig,
    TokenizerFacts,
    load_tokenizer,
    train_wordpiece,
)
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenizer_of_tables(build: Build) -> None:
    """Make the tokenizer of a corpus of labelled rows alone, unless it is there.

    Raises:
        UserError: It cannot be loaded, or the rows hold no text to train one on.
    """
    config = build.request.config
    if (build.folder / "tokenizer").exists():
        return
    with build.step("tokenizer"):
        if config.tokenizer.name_or_path:
            build.tokenizer = save_given(build.folder, config.tokenizer.name_or_path)
            return
        sample = TextSample(config.tokenizer.sample_bytes)
        below = {}
        for name, table in config.labelled.items():
            rule = HeldoutRule(config.heldout_fraction, config.heldout_minimum)
            _add_rows(sample, name, read_table(table, build.request.language), rule)
            below[name] = rule.below
        build.tokenizer = train(build.folder, sample.texts(below), config.tokenizer)


def _add_rows(
    sample: TextSample,
    name: str,
    table: tuple[list[dict[str, object]], dict[str, Kind]],
    rule: HeldoutRule,
) -> None:
    """Offer the texts of labelled rows, each one once; the first of a row decides whether it is
    held out.
    """
    rows, kinds = table
    columns = [column for column, kind in kinds.items() if kind == "text"]
    offered: set[tuple[bytes, bytes]] = set()
    first_texts: dict[bytes, None] = {}
    for row in distinct_and_complete(rows, kinds)[1]:
        digest = text_digest(str(row[columns[0]]))
        first_texts[digest] = None
        for column in columns:
            text = str(row[column])
            key = (digest, text_digest(text))
            if key not in offered:
                offered.add(key)
                sample.add(Document(name, text, len(text.encode())), digest, name)
    for digest in first_texts:
        rule.add(digest)


def train(folder: Path, texts: Sequence[str], config: TokenizerConfig) -> TokenizerFacts:
    """Train a tokenizer on texts and save it.

    Raises:
        UserError: There is nothing to learn in them.
    """
    tokenizer = train_wordpiece(texts, config)
    if len(tokenizer) == len(tokenizer.all_special_ids):
        raise UserError("no usable document: a vocabulary trained on the text would be empty")
    return _save(folder, tokenizer)


def save_given(folder: Path, name_or_path: str) -> TokenizerFacts:
    """Load the tokenizer that was asked for and save it; in any process."""
    return _save(folder, load_tokenizer(name_or_path))


def _save(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> TokenizerFacts:
    remove_folder(folder / "tokenizer")
    write_folder(folder / "tokenizer", lambda path: tokenizer.save_pretrained(str(path)))
    return TokenizerFacts.of(tokenizer)
