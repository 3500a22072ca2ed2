"""Documents, comments in configurations, and help texts avoid phrases that slow a reader down.

`CONTRIBUTING.md` gives the rules and examples.
"""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from ernie_cmtl.cli.app import app
from ernie_cmtl.verbs.settings import settings

ROOT = Path(__file__).parents[1]
PHRASES = (
    r"whatever",
    r"whoever",
    r"nobody",
    r"anew",
    r"so (many|often)\b",
    r"is none|are none|has none of|none of which",
    r"(is|are) no (list|valid|text|number|multiple)\b",
    r"of which",
    r"(go|goes|going|went|gone) on (with|from|training)",
    r"(it|there|that|which|what) stands?",
    r"stands? (in|at|beside|there|alone|for)",
    r"(lies|lie) in\b",
    r"of one's own",
    r"beside (it|them|one another)",
    r"had better",
    r"stops no",
    r"(is|are) told\b(?! apart)",
    r"is met\b|are met\b",
    r", for (it|they) ",
    r"without a word",
    r"written large",
    r"broken off",
    r"a second reading|for people",
    r"is worth|are worth",
    r"judged alike|judge all alike",
    r"(a|one) (sentence|step|worker|GPU|core|token|task|row|stage|word|machine) each\b",
    r"one a (GPU|core|word|token|line|row|seed|task)\b",
    r"tokens a second",
    r"as if nothing had been",
    r"what it is worth",
)
BANNED = re.compile("|".join(rf"(?:\b(?:{phrase}))" for phrase in PHRASES), re.IGNORECASE)


def _prose(text: str) -> str:
    """Return Markdown without code blocks and code spans."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.sub(r"`[^`\n]+`", "`x`", text)


def _offenders(text: str) -> list[str]:
    """Return each banned phrase with its surroundings; lines of a paragraph are joined."""
    flat = " ".join(text.split())
    return [flat[max(match.start() - 40, 0) : match.end() + 40] for match in BANNED.finditer(flat)]


PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))
)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_banned_phrase(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    # CONTRIBUTING.md quotes wording to avoid.
    text = re.sub(r"\| avoid \|.*?\n\n", "", text, flags=re.DOTALL)
    assert _offenders(_prose(text)) == []


def test_comments_of_configurations_have_no_banned_phrase() -> None:
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        comments = re.findall(r"(?:^|\s)#(.*)", path.read_text(encoding="utf-8"))
        assert _offenders(" ".join(comments)) == [], path


def _help_of(command: object, path: str = "") -> dict[str, str]:
    """Return the help of a command, its options and its subcommands, by their names."""
    texts = {path: str(getattr(command, "help", None) or "")}
    for option in getattr(command, "params", ()):
        texts[f"{path} {option.name}"] = str(getattr(option, "help", None) or "")
    for name, below in getattr(command, "commands", {}).items():
        texts |= _help_of(below, f"{path} {name}")
    return texts


def test_help_texts_have_no_banned_phrase() -> None:
    texts = _help_of(get_command(app))
    assert len(texts) > 80
    found = {name: found for name, text in texts.items() if (found := _offenders(text))}
    assert found == {}


def test_the_meanings_of_settings_have_no_banned_phrase() -> None:
    meanings = {one["name"]: one["meaning"] for part in settings().values() for one in part}
    found = {name: found for name, text in meanings.items() if (found := _offenders(text))}
    assert found == {}
