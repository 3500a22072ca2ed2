"""The layer of knowledge units: collocations fitted on the training split, then marked in every shard."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ernie_cmtl.corpus.collocations import CollocationConfig, Lexicon, Words, mine, words_of
from ernie_cmtl.corpus.store import Shard, read_array, write_array
from ernie_cmtl.records import Array

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Question = TypeVar("Question")
Answer = TypeVar("Answer")


class OrderedMap(Protocol):
    """Applies a function to items, perhaps in other processes, and yields the answers in order."""

    def __call__(self, function: Callable[[Question], Answer], items: Iterable[Question]) -> Iterator[Answer]:
        """Yield the answers in the order of the items."""


@dataclass(frozen=True)
class _Job:
    """Marks the units of one shard."""

    lexicon: Lexicon
    wordlike: npt.NDArray[np.bool_]

    def __call__(self, folder: Path) -> str:
        words, tokens = _shard_words(folder, self.wordlike, None)
        return write_array(folder / "unit_starts.npy", self.lexicon.unit_starts(words, tokens))


def add_units(
    output: Path, shards: list[Shard], tokenizer: "PreTrainedTokenizerBase", config: CollocationConfig, ordered_map: OrderedMap
) -> int:
    """Mine collocations, keep them in `lexicon/`, write the layer `unit_starts` of every shard; return their number."""
    wordlike = _wordlike(tokenizer)
    folders = [output / "shards" / shard.name for shard in shards]
    train = [(folder, shard.tokens) for folder, shard in zip(folders, shards, strict=True) if shard.split == "train"]
    total = sum(tokens for _, tokens in train)
    share = min(1.0, config.counted_tokens / total)
    parts, ids, base = [], [], 0
    for folder, shard_tokens in train:
        words, tokens = _shard_words(folder, wordlike, int(shard_tokens * share))
        parts.append(Words(words.starts + base, words.hashes, words.room))
        ids.append(read_array(folder / "token_ids.npy")[:tokens])
        base += tokens
    words = Words(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("starts", "hashes", "room")))
    lexicon, rows = mine(words, config)
    _write_lexicon(output / "lexicon", lexicon, rows, words, np.concatenate(ids), tokenizer)
    for shard, file_hash in zip(shards, ordered_map(_Job(lexicon, wordlike), folders), strict=True):
        shard.hashes["unit_starts"] = file_hash
    return len(lexicon.hashes)


def _shard_words(folder: Path, wordlike: npt.NDArray[np.bool_], limit: int | None) -> tuple[Words, int]:
    """Return the words of a shard, or of its first sentences up to a limit of tokens, and the number of tokens."""
    sentences = read_array(folder / "sentence_offsets.npy")
    if limit is not None:
        sentences = sentences[: max(2, int(np.searchsorted(sentences, limit, side="right")))]
    tokens = int(sentences[-1])
    token_ids, word_starts = (read_array(folder / f"{name}.npy")[:tokens] for name in ("token_ids", "word_starts"))
    return words_of(token_ids, word_starts, np.asarray(sentences), wordlike), tokens


def _wordlike(tokenizer: "PreTrainedTokenizerBase") -> npt.NDArray[np.bool_]:
    """Tell which tokens hold a letter or digit; bool [vocabulary]."""
    size = max(tokenizer.get_vocab().values()) + 1
    texts = tokenizer.backend_tokenizer.decode_batch([[number] for number in range(size)])
    table = np.array([any(c.isalnum() for c in text) for text in texts])
    table[tokenizer.all_special_ids] = False
    return table


def _write_lexicon(
    folder: Path,
    lexicon: Lexicon,
    rows: list[tuple[int, int, int, float]],
    words: Words,
    token_ids: Array,
    tokenizer: "PreTrainedTokenizerBase",
) -> None:
    folder.mkdir(exist_ok=True)
    write_array(folder / "collocations.npy", lexicon.hashes)
    ends = np.append(words.starts, len(token_ids))
    spans = [token_ids[ends[word] : ends[word + length]].tolist() for word, length, _, _ in rows]
    phrases = tokenizer.batch_decode(spans) if spans else []
    with (folder / "collocations.tsv").open("w", encoding="utf-8") as stream:
        stream.write("phrase\twords\tcount\tpmi\n")
        for phrase, (_, length, count, pmi) in zip(phrases, rows, strict=True):
            stream.write(f"{phrase}\t{length}\t{count}\t{pmi:.3f}\n")
