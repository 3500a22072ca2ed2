"""Labelled rows: a class for a sentence, a class or a number for a pair, grades of candidates, tags
of words.
"""

from pathlib import Path
from typing import Any

SUPERVISED = ("supervised", "supervised_ranking", "supervised_tokens")
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


NAMES = ("Ada", "Boris", "Clara", "Dmitri", "Emma", "Felix", "Greta", "Hugo")
PLACES = ("Tallinn", "Riga", "Oslo", "Bergen")
TAGGED: list[tuple[list[str], list[str]]] = [
    (
        [name, "travels", "to", place, *by, "."],
        ["B-PER", "O", "O", "B-LOC", *["O"] * (len(by) + 1)],
    )
    for name in NAMES
    for place in PLACES
    for by in (["by", "train"], ["today"])
]
"""Words and tags of sentences, each sentence once."""


def write_conll(path: Path, sentences: list[tuple[list[str], list[str]]] = TAGGED) -> Path:
    """Write sentences as a word and its tag a line."""
    lines = (
        "".join(f"{word} {tag}\n" for word, tag in zip(words, tags, strict=True))
        for words, tags in sentences
    )
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_class_folders(folder: Path, texts: dict[str, list[str]]) -> Path:
    """Write texts as those of IMDb: a file each, in the folder of its class."""
    for name, of_class in texts.items():
        (folder / name).mkdir(parents=True)
        for number, text in enumerate(of_class):
            (folder / name / f"{number}_{number % 10}.txt").write_text(text, encoding="utf-8")
    return folder


def opinions() -> dict[str, list[str]]:
    """Texts of two classes, each once."""
    words = {"pos": ("fine", "warm", "clever"), "neg": ("dull", "cold", "clumsy")}
    return {
        name: [f"The film of {one} is {word} from the start." for one in NAMES for word in found]
        for name, found in words.items()
    }
