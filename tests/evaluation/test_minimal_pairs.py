"""Minimal pairs score as one masked sentence at a time does, and what is no pair is refused by its
line.
"""

import json
from pathlib import Path

import pytest
import torch

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation import minimal_pairs, pseudo_likelihood
from ernie_cmtl.evaluation.intervals import clustered, wilson
from ernie_cmtl.evaluation.masked_lm import MaskedLanguageModel
from ernie_cmtl.evaluation.minimal_pairs import Pair, judge_pairs, read_pairs
from ernie_cmtl.evaluation.pseudo_likelihood import pseudo_log_likelihoods
from tests.support.judging import OBVIOUS, small_model


@pytest.fixture(scope="module")
def judged(english: Corpus) -> MaskedLanguageModel:
    return small_model(english)


@torch.no_grad()
def one_at_a_time(judged: MaskedLanguageModel, sentence: str, rest_of_word: bool = False) -> float:
    """Mask each token of a sentence in turn, a sentence a call."""
    tokens = judged.tokenizer.tokenize(sentence)
    total = 0.0
    for place, token in enumerate(tokens):
        masked = list(tokens)
        masked[place] = "[MASK]"
        for after in range(place + 1, len(tokens)) if rest_of_word else ():
            if not tokens[after].startswith("##"):
                break
            masked[after] = "[MASK]"
        ids = judged.tokenizer.convert_tokens_to_ids(["[CLS]", *masked, "[SEP]"])
        logits = judged.model(input_ids=torch.tensor([ids])).logits[0, place + 1].double()
        total += float(logits.log_softmax(-1)[judged.tokenizer.convert_tokens_to_ids(token)])
    return total


@pytest.mark.parametrize("rest_of_word", [False, True])
def test_the_obvious_cases_score_as_one_masked_sentence_at_a_time(
    judged: MaskedLanguageModel, rest_of_word: bool
) -> None:
    pairs = read_pairs(OBVIOUS)
    expected: dict[str, list[bool]] = {}
    for pair in pairs:
        good, bad = (
            one_at_a_time(judged, sentence, rest_of_word) for sentence in (pair.good, pair.bad)
        )
        (found,) = {*pseudo_log_likelihoods(judged, judged.encode([pair.good], [""]), rest_of_word)}
        assert found == pytest.approx(good, abs=1e-3)
        expected.setdefault(pair.group, []).append(good > bad)
    result = judge_pairs(judged, pairs, rest_of_word)
    hits = [hit for group in expected.values() for hit in group]
    assert 0 < sum(hits) < len(hits) == result["pairs"] == 12
    assert result["accuracy"] == sum(hits) / 12
    assert {
        name: (score["accuracy"], score["pairs"]) for name, score in result["groups"].items()
    } == {name: (sum(group) / len(group), len(group)) for name, group in expected.items()}
    assert set(result["groups"]) == {
        "subject_verb",
        "determiner_noun",
        "verb_form",
        "anaphora",
        "polarity",
        "obvious_pairs",
    }
    assert result["interval"] == pytest.approx(wilson(sum(hits) / 12, 12))
    assert result["pairs_per_second"] > 0


def test_pairs_score_the_same_in_parts(
    judged: MaskedLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = read_pairs(OBVIOUS)
    whole = judge_pairs(judged, pairs)
    monkeypatch.setattr(minimal_pairs, "_AT_ONCE", 5)
    parts = judge_pairs(judged, pairs)
    assert parts | {"pairs_per_second": 0} == whole | {"pairs_per_second": 0}


def test_words_of_several_pieces_make_the_two_ways_differ(judged: MaskedLanguageModel) -> None:
    sentence = "An unparameterised counter."
    assert any(token.startswith("##") for token in judged.tokenizer.tokenize(sentence))
    encoded = judged.encode([sentence], [""])
    assert pseudo_log_likelihoods(judged, encoded) != pytest.approx(
        pseudo_log_likelihoods(judged, encoded, True), abs=1e-3
    )


def test_equal_inputs_are_computed_once_and_the_head_runs_at_one_place(
    judged: MaskedLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    handle = judged.model.register_forward_hook(
        lambda module, given, output: seen.append(tuple(output.logits.shape))
    )
    pair = Pair("the file is read", "the file was read", "", "")
    words = len(judged.tokenizer.tokenize(pair.good))
    monkeypatch.setattr(pseudo_likelihood, "_TOKENS", 2 * (words + 2))
    scores = judge_pairs(judged, [pair, pair])
    handle.remove()
    # What is masked where they differ is one input; all else stands twice, however many pairs ask
    # for it.
    assert sum(shape[0] for shape in seen) == 2 * words - 1
    assert {shape[1] for shape in seen} == {1}
    assert max(shape[0] for shape in seen) == 2
    assert scores["accuracy"] in (0.0, 1.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"good": "A cat sat."}', "line 2 has no key 'bad' or 'sentence_bad'; it has good"),
        (
            '{"sentence_bad": "A cat sat.", "UID": "x"}',
            "line 2 has no key 'good' or 'sentence_good'; it has sentence_bad, UID",
        ),
        ('{"good": "A cat sat.", "bad": 3}', "line 2: 'bad' is no sentence: 3"),
        ('{"good": "  ", "bad": "A cat sat."}', "line 2: 'good' is no sentence"),
        ('{"good": "A cat.", "bad": "A cat."}', "line 2: both sentences are 'A cat.'"),
        ("[1]", "line 2 is no JSON object"),
        ("{good", "line 2 is no JSON:"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"good": "A cat sat.", "bad": "A cat sit."}\n' + line)
    with pytest.raises(UserError, match=r"pairs\.jsonl, ") as raised:
        read_pairs(tmp_path / "pairs.jsonl")
    assert message in str(raised.value)


def test_files_without_pairs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    for path in (tmp_path / "empty.jsonl", tmp_path):
        with pytest.raises(UserError, match="holds no pair"):
            read_pairs(path)
    with pytest.raises(UserError, match=r"cannot read .*absent\.jsonl"):
        read_pairs(tmp_path / "absent.jsonl")


def test_a_folder_holds_the_pairs_of_its_files(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_text(
            json.dumps({"good": f"{name} is", "bad": f"{name} are"})
        )
    assert [(pair.group, pair.good) for pair in read_pairs(tmp_path)] == [
        ("a", "a is"),
        ("b", "b is"),
    ]


def test_a_sentence_that_is_too_long_is_named(judged: MaskedLanguageModel) -> None:
    with pytest.raises(
        UserError, match=r"x\.jsonl, line 7: a sentence of 52 tokens; 'small' takes at most 40"
    ):
        judge_pairs(judged, [Pair("the " * 50, "the", "", "x.jsonl, line 7")])


def test_intervals_are_those_of_the_textbook() -> None:
    # Newcombe 1998 (Statistics in Medicine 17:857), table I, score method without continuity
    # correction.
    assert wilson(81 / 263, 263) == pytest.approx([0.2553, 0.3662], abs=5e-5)
    assert wilson(15 / 148, 148) == pytest.approx([0.0624, 0.1605], abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx([0.0, 0.1611], abs=5e-5)


def test_labels_that_agree_within_their_cluster_count_as_one() -> None:
    def of(hits: list[int], labels: list[int]) -> list[float]:
        products = [
            sum(a * b for a, b in zip(*columns, strict=True))
            for columns in ((hits, hits), (hits, labels), (labels, labels))
        ]
        return clustered(sum(hits), sum(labels), *products)

    alone = of([1] * 30 + [0] * 10, [1] * 40)
    assert alone == pytest.approx(wilson(0.75, 40))
    assert of([5] * 30 + [0] * 10, [5] * 40) == pytest.approx(alone)
    assert of([7] * 40, [7] * 40) == pytest.approx(wilson(1.0, 40))


def test_a_line_ends_where_the_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        '{"sentence_good": "a\u2028b", "sentence_bad": "b a"}\n{"sentence_good": "c\x85", '
        '"sentence_bad": "d"}\n'
    )
    assert [pair.good for pair in read_pairs(path)] == ["a\u2028b", "c\x85"]
