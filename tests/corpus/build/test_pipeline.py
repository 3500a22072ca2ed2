"""Building a corpus: every document is accounted for, the split follows from the text, and nothing
of the user's is lost.
"""

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from transformers import BertTokenizer

from ernie_cmtl.corpus.build import shards
from ernie_cmtl.corpus.build.digests import split_hash, text_digest
from ernie_cmtl.corpus.build.progress import Progress
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.store.manifest import Split
from ernie_cmtl.corpus.tokens.tokenizer import SPECIAL_TOKENS, raw_text_tokenizer
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Language
from tests.support.corpora import build_corpus, make_corpus, quiet, sample_texts, write_jsonl

# Settings that find collocations in the smallest corpus.
FEW: dict[str, Any] = {"layers": {"collocations": {"minimum_count": 2, "minimum_pmi": 0}}}

Report = Callable[[Progress], None]


def make(
    inputs: Path,
    output: Path,
    language: Language = "en",
    processes: int = 1,
    report: Report = quiet,
    **settings: Any,
) -> dict[str, Any]:
    return make_corpus([str(inputs)], output, language, processes, report, **settings)


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a folder; the lines of the reject log sorted, for which no order is promised."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    if "rejects.jsonl" in found:
        found["rejects.jsonl"] = b"".join(sorted(found["rejects.jsonl"].splitlines(keepends=True)))
    return found


def texts_of(corpus: Corpus, split: Split, texts: list[str]) -> list[str]:
    """Which of some texts the documents of a split are, in order; each must be one of them from its
    first to its last token.
    """
    tokenizer = raw_text_tokenizer(corpus.folder / "tokenizer")
    known = {tuple(tokenizer.encode(text, add_special_tokens=False).ids): text for text in texts}
    assert len(known) == len(set(texts))
    opened = corpus.split(split)
    bounds = opened.document_tokens.tolist()
    ids = [opened.passage(start, stop, ()).token_ids.tolist() for start, stop in pairwise(bounds)]
    return [known[tuple(row)] for row in ids]


def heldout(folder: Path, texts: list[str]) -> set[str]:
    found = texts_of(Corpus(folder / "corpus"), "heldout", texts)
    assert len(found) == len(set(found))
    return set(found)


# A corpus with all kinds of bad rows


class Mixed(NamedTuple):
    folder: Path
    texts: list[str]
    """Good ones, in the order in which they are read first."""
    rejects: list[tuple[str, str, str]]
    """File name, document, reason."""
    duplicates: int


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    folder = tmp_path_factory.mktemp("mixed") / "in"
    folder.mkdir()
    texts = [text.strip() for text in sample_texts("en", 10) + sample_texts("zh", 10)]
    rows = [json.dumps({"text": text}, ensure_ascii=False).encode() for text in texts]
    unseen = json.dumps({"text": "\u200b\u200d"}).encode()
    bad = [
        (b'{"text": "no end', "malformed_json"),
        (b'{"text": "caf\xe9"}', "invalid_utf8"),
        (b'{"title": "no text"}', "no_text_field"),
        (b'{"text": 5}', "no_text_field"),
        (b'{"text": " \\n "}', "empty"),
        (b'{"text": "\\udc00"}', "lone_surrogate"),
        (json.dumps({"text": "x " * 60_000}).encode(), "line_too_long"),
        (unseen, "no_tokens"),
    ]
    lines = [rows[0], *(line for line, _ in bad), rows[1], rows[0], unseen, rows[2]]
    (folder / "a.jsonl").write_bytes(b"\n".join(lines))
    (folder / "b.txt").write_bytes(b"caf\xe9")
    (folder / "c.txt").write_bytes(b"")
    (folder / "d.jsonl.gz").write_bytes(gzip.compress(rows[3] + b"\n") + b"damage")
    (folder / "e.txt").write_text(texts[4] + "\n", encoding="utf-8")
    (folder / "f.txt").write_text("\n" + texts[1], encoding="utf-8")
    (folder / "g").mkdir()
    (folder / "g" / "h.jsonl.gz").write_bytes(gzip.compress(b"\n".join(rows[5:])))
    (folder / "notes.md").write_text("not read", encoding="utf-8")
    rejects = [
        ("a.jsonl", f"a.jsonl#{line}", reason) for line, (_, reason) in enumerate(bad, start=2)
    ]
    rejects += [
        ("b.txt", "b.txt", "invalid_utf8"),
        ("c.txt", "c.txt", "empty"),
        ("d.jsonl.gz", "d.jsonl.gz", "damaged_gzip"),
    ]
    return Mixed(folder, texts, rejects, duplicates=3)


MIXED_SETTINGS: dict[str, Any] = {"reader": {"maximum_line_bytes": 100_000}, "shard_bytes": 16_000}


@pytest.fixture(scope="module")
def built(mixed: Mixed, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("built") / "corpus"
    return output, make(mixed.folder, output, "zh", **MIXED_SETTINGS)


def test_every_document_read_is_used_rejected_or_a_duplicate(
    mixed: Mixed, built: tuple[Path, dict[str, Any]]
) -> None:
    output, result = built
    used, rejected = len(mixed.texts), len(mixed.rejects)
    expected = {
        "read": used + rejected + mixed.duplicates,
        "used": used,
        "rejected": rejected,
        "duplicates": mixed.duplicates,
        "heldout": used // 4,
        "repaired": 0,
    }
    assert result["documents"] == expected
    assert result["rejections"] == Counter(reason for _, _, reason in mixed.rejects)
    assert result["bytes"] == sum(len(text.encode()) for text in mixed.texts)
    manifest = Corpus(output).manifest
    assert (manifest.documents, manifest.rejections) == (result["documents"], result["rejections"])
    assert (manifest.count("documents"), manifest.count("tokens")) == (used, result["tokens"])


def test_the_reject_log_names_file_document_and_reason(
    mixed: Mixed, built: tuple[Path, dict[str, Any]]
) -> None:
    rows = [
        json.loads(line)
        for line in (built[0] / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert sorted((row["file"], row["document"], row["reason"]) for row in rows) == sorted(
        (str(mixed.folder / name), document, reason) for name, document, reason in mixed.rejects
    )


def test_each_good_text_is_stored_once_whole_and_in_order(
    mixed: Mixed, built: tuple[Path, dict[str, Any]]
) -> None:
    corpus = Corpus(built[0])
    train, held = (texts_of(corpus, split, mixed.texts) for split in ("train", "heldout"))  # type: ignore[arg-type]
    assert sorted(train + held) == sorted(mixed.texts)
    for split in (train, held):
        assert split == sorted(split, key=mixed.texts.index)


def test_two_processes_write_the_same_bytes_as_one(
    mixed: Mixed,
    built: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Small pieces of work, so that they really come back from two processes.
    monkeypatch.setattr(shards, "_BATCH_BYTES", 3000)
    result = make(mixed.folder, tmp_path / "corpus", "zh", processes=2, **MIXED_SETTINGS)
    assert result["fingerprint"] == built[1]["fingerprint"]
    assert len([name for name in tree(built[0]) if name.endswith("token_ids.npy")]) > 3
    assert tree(tmp_path / "corpus") == tree(built[0])


# Held-out documents


@pytest.mark.parametrize(("documents", "expected"), [(1, 0), (3, 0), (4, 1), (11, 2), (40, 10)])
def test_a_small_corpus_holds_out_a_quarter_at_most(
    tmp_path: Path, documents: int, expected: int
) -> None:
    texts = sample_texts("en", documents)
    result = build_corpus(tmp_path, texts, **FEW)
    assert result["documents"]["heldout"] == expected
    held = texts_of(Corpus(tmp_path / "corpus"), "heldout", texts)
    train = texts_of(Corpus(tmp_path / "corpus"), "train", texts)
    assert len(held) == len(set(held)) == expected
    assert sorted(held + train) == sorted(texts)


def test_a_larger_corpus_holds_out_the_minimum(tmp_path: Path) -> None:
    texts = [f"{text[:200]} {number}" for number, text in enumerate(sample_texts("en", 70))]
    assert len(texts) > 4 * 16
    assert build_corpus(tmp_path, texts)["documents"]["heldout"] == 16


@pytest.mark.parametrize("documents", [1, 8])
def test_never_more_than_a_quarter_is_held_out_by_chance(tmp_path: Path, documents: int) -> None:
    """All these texts fall among the one in a hundred that is held out in a large corpus."""
    text = sample_texts("en", 1)[0]
    texts: list[str] = []
    numbers = count()
    while len(texts) < documents:
        candidate = f"{text.strip()} {next(numbers)}"
        if split_hash(text_digest(candidate)) < 0.01 * 2**64:
            texts.append(candidate)
    result = build_corpus(tmp_path, texts, **FEW)
    assert result["documents"]["heldout"] == documents // 4


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_heldout_texts_do_not_depend_on_order_or_files(
    tmp_path: Path, language: Language
) -> None:
    texts = [text[:2000] for text in sample_texts(language)]
    build_corpus(tmp_path / "a", texts, language)
    build_corpus(tmp_path / "b", texts[::-1], language)
    files = tmp_path / "c" / "in"
    files.mkdir(parents=True)
    write_jsonl(files / "late.jsonl", texts[:25])
    for number, text in enumerate(texts[25:]):
        (files / f"{number}.txt").write_text(text, encoding="utf-8")
    make(files, tmp_path / "c" / "corpus", language)
    held = [heldout(tmp_path / name, texts) for name in "abc"]
    assert len(held[0]) == 10
    assert held[0] == held[1] == held[2]


def test_a_held_out_part_stays_held_out_when_the_corpus_grows(tmp_path: Path) -> None:
    texts = [text[:2000] for text in sample_texts("en", 60)]
    settings: dict[str, Any] = {"heldout_fraction": 0.1, "heldout_minimum": 1}
    build_corpus(tmp_path / "small", texts[:30], **settings)
    build_corpus(tmp_path / "large", texts, **settings)
    small, large = heldout(tmp_path / "small", texts), heldout(tmp_path / "large", texts)
    assert 1 < len(small) < len(large) < 15
    assert small == large & set(texts[:30])


def test_the_tokenizer_learns_nothing_from_heldout_texts(tmp_path: Path) -> None:
    """Each text has a word of its own, often enough that a vocabulary trained on the text holds
    it.
    """
    names = [f"zq{letter}{other}xv" for letter in "abcd" for other in "efghi"]
    texts = [
        f"{text} {' '.join([name] * 6)}"
        for text, name in zip(sample_texts("en", 20), names, strict=True)
    ]
    build_corpus(tmp_path, texts, tokenizer={"vocabulary_size": 6000})
    corpus = Corpus(tmp_path / "corpus")
    train = texts_of(corpus, "train", texts)
    assert len(train) == 15
    assert {name for name in names if name in corpus.tokenizer.get_vocab()} == {
        text.split()[-1] for text in train
    }


def test_one_document_makes_a_corpus_with_nothing_held_out(tmp_path: Path) -> None:
    text = sample_texts("en", 1)
    result = build_corpus(tmp_path, text, **FEW)
    assert result["documents"] == {
        "read": 1,
        "used": 1,
        "rejected": 0,
        "duplicates": 0,
        "heldout": 0,
        "repaired": 0,
    }
    corpus = Corpus(tmp_path / "corpus")
    assert texts_of(corpus, "train", text) == text
    assert corpus.split("heldout").documents == corpus.split("heldout").tokens == 0


@pytest.mark.parametrize(
    "settings",
    [{"maximum": 0}, {"minimum_pmi": 1e6}, {"minimum_count": 10**6}],
    ids=lambda settings: next(iter(settings)),
)
def test_a_corpus_without_any_collocation_is_built(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    build_corpus(tmp_path, sample_texts("en", 8), layers={"collocations": settings})
    split = Corpus(tmp_path / "corpus").split("train")
    assert (
        not split.passage(0, int(split.document_tokens[1]), ("collocations",))
        .layers["collocations"]
        .any()
    )


# Output folders


def test_an_output_folder_that_is_not_empty_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 8))
    output = tmp_path / "mine"
    (output / "shards").mkdir(parents=True)
    (output / "shards" / "thesis.tex").write_text("years of work", encoding="utf-8")
    before = tree(output)
    with pytest.raises(UserError, match=r"mine is not empty.*--output"):
        make(source, output)
    assert tree(output) == before


def test_a_finished_corpus_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    build_corpus(tmp_path, sample_texts("en", 8))
    before = tree(tmp_path / "corpus")
    with pytest.raises(UserError, match=r"corpus holds a corpus already.*--output"):
        make(tmp_path / "text.jsonl", tmp_path / "corpus")
    assert tree(tmp_path / "corpus") == before


def test_an_output_that_is_a_file_is_the_users_mistake(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 8))
    output = tmp_path / "notes"
    output.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="notes"):
        make(source, output)
    assert output.read_text(encoding="utf-8") == "mine"


def test_a_missing_input_leaves_no_output_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.txt"):
        make(tmp_path / "missing.txt", tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


# Input that changes or cannot be used


def append(path: Path) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"text": "one more line"}\n')


def rewrite(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"statement", b"STATEMENT"))
    # As an editor would a moment later, however coarse the clock of the file system.
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1_000_000))


@pytest.mark.parametrize(
    "change", [append, rewrite, Path.unlink], ids=["longer", "same length", "removed"]
)
def test_input_that_changes_during_the_build_is_reported(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    source = write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 8))
    waiting = [change]

    def change_once(progress: Progress) -> None:
        if progress.stage == "annotation" and waiting:
            waiting.pop()(source)

    with pytest.raises(UserError, match=r"text\.jsonl.*(changed or|was) removed"):
        make(source, tmp_path / "corpus", report=change_once)
    with pytest.raises(UserError, match="no corpus"):
        Corpus(tmp_path / "corpus")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.txt": b"\xff", "b.txt": b" ", "c.jsonl": b"{}\n5\n"},
            r"in 3 input.*no_text_field: 2, as c.jsonl#1: no .text.*invalid_utf8: 1, as a.txt: "
            r"byte 0 of the file, empty: 1",
        ),
        ({"a.jsonl": b""}, "no usable document in 1 input.*nothing was read"),
        ({"a.txt": "\u200b\u200d".encode()}, "no usable document"),
    ],
    ids=["rejected", "nothing", "no tokens"],
)
def test_a_folder_without_a_usable_document_is_the_users_mistake(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name, content in files.items():
        (source / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        make(source, tmp_path / "corpus")


# A tokenizer that is given


def save_tokenizer(
    folder: Path, words: list[str], first: int = 5, cased: bool = False
) -> BertTokenizer:
    """A WordPiece of whole words and all letters, numbered from `first` on."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    pieces = dict.fromkeys([*words, *letters, *(f"##{letter}" for letter in letters)])
    table = {token: number for number, token in enumerate(SPECIAL_TOKENS)} | {
        token: number for number, token in enumerate(pieces, start=first)
    }
    tokenizer = BertTokenizer(vocab=table, do_lower_case=not cased)
    tokenizer.save_pretrained(str(folder))
    return tokenizer


@pytest.mark.parametrize("cased", [False, True], ids=["uncased", "cased"])
def test_a_given_tokenizer_is_used_as_it_is(tmp_path: Path, cased: bool) -> None:
    texts = sample_texts("en", 8)
    words = sorted({word for text in texts for word in text.split() if word.isalpha()})
    given = save_tokenizer(
        tmp_path / "given",
        words if cased else [word for word in words if word.islower()],
        cased=cased,
    )
    result = build_corpus(tmp_path, texts, tokenizer={"name_or_path": str(tmp_path / "given")})
    corpus = Corpus(tmp_path / "corpus")
    assert corpus.tokenizer.get_vocab() == given.get_vocab()
    assert result["vocabulary_size"] == corpus.manifest.vocabulary_size == len(given)
    split = corpus.split("train")
    stored = {
        tuple(
            split.passage(*split.document_tokens[place : place + 2].tolist(), ()).token_ids.tolist()
        )
        for place in range(split.documents)
    }
    own = {tuple(given(text, add_special_tokens=False).input_ids) for text in texts}
    assert len(stored) == 6
    assert stored < own
    assert ("letter_case" in corpus.manifest.layers) is not cased


@pytest.mark.parametrize("holes", [False, True], ids=["dense", "with holes"])
def test_token_ids_beyond_two_bytes_are_stored_whole(tmp_path: Path, holes: bool) -> None:
    texts = sample_texts("en", 8)
    fillers = [] if holes else [f"filler{number}" for number in range(70_000)]
    given = save_tokenizer(tmp_path / "given", fillers, first=70_000 if holes else 5)
    build_corpus(tmp_path, texts, tokenizer={"name_or_path": str(tmp_path / "given")}, **FEW)
    split = Corpus(tmp_path / "corpus").split("train")
    ids = split.passage(0, int(split.document_tokens[1]), ()).token_ids.tolist()
    assert max(ids) > 1 << 16
    assert ids in [given(text, add_special_tokens=False).input_ids for text in texts]


def test_a_tokenizer_that_another_process_loads_is_the_same(tmp_path: Path) -> None:
    words = sorted(
        {word for text in sample_texts("en", 8) for word in text.split() if word.islower()}
    )
    loaded = save_tokenizer(tmp_path / "given", words)
    given = {"name_or_path": str(tmp_path / "given")}
    for processes in (1, 2):
        build_corpus(
            tmp_path / str(processes), sample_texts("en", 8), processes=processes, tokenizer=given
        )
    one, two = (tree(tmp_path / str(processes) / "corpus" / "tokenizer") for processes in (1, 2))
    assert one == two
    manifests = [Corpus(tmp_path / str(processes) / "corpus").manifest for processes in (1, 2)]
    assert manifests[0].vocabulary_hash == manifests[1].vocabulary_hash
    assert manifests[0].vocabulary_size == manifests[1].vocabulary_size == len(loaded)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_given_tokenizer_that_is_missing_is_the_users_mistake(
    tmp_path: Path, processes: int
) -> None:
    nowhere = {"name_or_path": str(tmp_path / "nowhere")}
    with pytest.raises(UserError, match=r"cannot load a tokenizer from .*nowhere"):
        build_corpus(tmp_path, sample_texts("en", 8), processes=processes, tokenizer=nowhere)
    assert not (tmp_path / "corpus").exists()


def test_text_that_cannot_be_used_leaves_nothing_of_a_tokenizer_that_another_process_loads(
    tmp_path: Path,
) -> None:
    save_tokenizer(tmp_path / "given", ["word"])
    with pytest.raises(UserError, match="no usable document"):
        build_corpus(
            tmp_path, [" "], processes=2, tokenizer={"name_or_path": str(tmp_path / "given")}
        )
    assert not (tmp_path / "corpus").exists()
