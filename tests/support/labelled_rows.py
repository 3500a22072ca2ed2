"""Labelled rows of four kinds: a class for a sentence, a class for a pair, a number for a pair,
grades of candidates.
"""

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
    "selqa": {"question": "text", "sentence": "text", "label": "class"},
}


def rows_of(name: str) -> list[dict[str, Any]]:
    pairs = [(x, y) for x in LETTERS for y in LETTERS]
    if name == "cola":
        return [{"sentence": f"The road {x} {y} is long.", "label": int(x < y)} for x, y in pairs]
    if name == "selqa":
        # Grades 0, 1, 2, 0, 1, 2; each question and sentence once.
        return [
            {
                "question": f"which {x} {y}",
                "sentence": f"{x} number {number} of {y}",
                "label": number % 3,
            }
            for x, y in pairs
            for number in range(CANDIDATES)
        ]
    both = [
        {"sentence1": f"The road {x} {y} is long.", "sentence2": f"We walk {y} {x}."}
        for x, y in pairs
    ]
    key = "label" if name == "mrpc" else "score"
    return [
        row | {key: int(x < y) if name == "mrpc" else (ord(x) - ord(y)) / 4}
        for row, (x, y) in zip(both, pairs, strict=True)
    ]
