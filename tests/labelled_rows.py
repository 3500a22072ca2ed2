"""Labelled rows of four kinds: a class for a sentence, a class for a pair, a number for a pair, grades of candidates."""

from typing import Any

SUPERVISED = ("supervised", "supervised_ranking")
"""Tasks that have no labels of their own making."""
LETTERS = "abcdefgh"
CANDIDATES = 6
PAIR = {"sentence1": "text", "sentence2": "text"}
COLUMNS: dict[str, dict[str, str]] = {
    "cola": {"sentence": "text", "label": "class"},
    "mrpc": PAIR | {"label": "class"},
    "stsb": PAIR | {"score": "number"},
    "dbpedia": {"query": "text", "title": "text", "grade": "class"},
}


def rows_of(name: str) -> list[dict[str, Any]]:
    pairs = [(x, y) for x in LETTERS for y in LETTERS]
    if name == "cola":
        return [{"sentence": f"The road {x} {y} is long.", "label": int(x < y)} for x, y in pairs]
    if name == "dbpedia":
        # Grades 0, 1, 2, 0, 1, 2; each query and title once.
        titles = [(x, y, number) for x, y in pairs for number in range(CANDIDATES)]
        return [
            {"query": f"which {x} {y}", "title": f"{x} number {number} of {y}", "grade": number % 3} for x, y, number in titles
        ]
    both = [{"sentence1": f"The road {x} {y} is long.", "sentence2": f"We walk {y} {x}."} for x, y in pairs]
    key = "label" if name == "mrpc" else "score"
    return [row | {key: int(x < y) if name == "mrpc" else (ord(x) - ord(y)) / 4} for row, (x, y) in zip(both, pairs, strict=True)]
