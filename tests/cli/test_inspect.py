"""The verb inspect on the command line."""

import re
import shutil
from pathlib import Path

import pytest

from ernie_cmtl.corpus.store.corpus import Corpus
from tests.support.command_line import Line, call, result_of, squeezed


@pytest.mark.parametrize("task", ["knowledge_masking", "sentence_reordering"])
def test_inspect_shows_the_tokens_of_the_text(line: Line, task: str) -> None:
    words = ("inspect", task, "--corpus", line.corpus, "--samples", "2", "--length", "48")
    shown = call(*words)
    assert shown.exit_code == 0
    corpus = Corpus(line.corpus)
    text = corpus.split("train")
    places = [
        (int(first), int(end))
        for first, end in re.findall(r"sample \d+: tokens (\d+)-(\d+)", shown.stdout)
    ]
    samples = result_of(*words)
    assert len(places) == len(samples) == 2
    for (first, end), sample in zip(places, samples, strict=True):
        tokens = corpus.tokenizer.convert_ids_to_tokens(
            text.passage(first, end, ()).token_ids.tolist()
        )
        assert " ".join(sample["sentences"]) == " ".join(tokens)
        assert squeezed("".join(tokens)) in squeezed(shown.stdout)
        inner = [token for token in sample["input"] if token not in ("[CLS]", "[SEP]")]
        if task == "sentence_reordering":
            assert sorted(inner) == sorted(tokens)
            assert [place for place, _ in sample["targets"]["order"]] == [0]
        else:
            restored = list(sample["input"])
            for place, label in sample["targets"]["masked_token"]:
                restored[place] = label
            assert restored == ["[CLS]", *tokens, "[SEP]"]


def test_inspect_takes_options_of_the_task(line: Line) -> None:
    words = ("inspect", "knowledge_masking", "--corpus", line.corpus, "--samples", "1")
    few, many = (
        result_of(*words, f"masking.rate={rate}")[0]["targets"]["masked_token"]
        for rate in ("0.05", "0.9")
    )
    assert len(many) > 3 * len(few)


def test_inspect_shows_the_labelled_rows_that_a_task_draws_from(line: Line, tmp_path: Path) -> None:
    shutil.copytree(line.corpus, tmp_path / "corpus")
    pairs = tmp_path / "pairs.tsv"
    markers = {"function": "however", "class": "finally", "name": "indeed"}
    rows = [
        f"The {word} is number {n}.\tThis is {n} of the {word}.\t{markers[word]}\n"
        for n in range(20)
        for word in markers
    ]
    pairs.write_text("first\tsecond\tmarker\n" + "".join(rows))
    result_of("prepare", "--corpus", tmp_path / "corpus", "--labelled", f"pairs={pairs}")
    words = (
        "inspect",
        "discourse_relation",
        "--corpus",
        tmp_path / "corpus",
        "--samples",
        "5",
        "table=pairs",
    )
    assert (
        "table 'pairs' has no class column 'label' (label=COLUMN); there are: marker"
        in call(*words).stderr
    )
    samples = result_of(*words, "label=marker")
    for sample in samples:
        first, second = sample["sentences"]
        (word,) = (word for word in markers if f"the {word} is" in first)
        assert f"of the {word}" in second
        assert list(sample["spans"]) == ["capitalized_names", "collocations"]
        assert [label for _, label in sample["targets"]["marker"]] == [markers[word]]


def test_inspect_names_the_layer_of_each_span(line: Line) -> None:
    words = (
        "inspect",
        "knowledge_masking",
        "--corpus",
        line.corpus,
        "--samples",
        "12",
        "--length",
        "64",
    )
    samples = result_of(*words)
    assert all(list(sample["spans"]) == ["capitalized_names", "collocations"] for sample in samples)
    found = [span for sample in samples for span in sample["spans"]["collocations"]]
    assert len(found) > 5
    phrases = (
        (line.corpus / "fitted" / "collocations" / "collocations.tsv")
        .read_text(encoding="utf-8")
        .replace(" ", "")
    )
    # A span that the sample's edge cut off is part of a phrase.
    assert all(re.sub(r" |##", "", span) in phrases for span in found)
    shown = call(*words).stdout
    assert squeezed("collocations: " + " | ".join(samples[0]["spans"]["collocations"])) in squeezed(
        shown
    )
