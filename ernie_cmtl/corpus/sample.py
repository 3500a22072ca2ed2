"""The embedded sample text: documentation that comes with the Python interpreter, and Chinese prose
written for the project.
"""

import argparse
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from ernie_cmtl.atomic_files import write_text


def sample_documents(language: str) -> Iterator[tuple[str, str]]:
    """Yield (title, text) of the sample documents of a language."""
    if language == "zh":
        text = files("ernie_cmtl.corpus").joinpath("sample_zh.txt").read_text(encoding="utf-8")
        yield from ((str(number), block) for number, block in enumerate(text.strip().split("\n\n")))
    else:
        from pydoc_data.topics import topics

        yield from sorted(topics.items())


def main() -> None:
    """Write the sample of a language as one `.jsonl` file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--language", choices=("en", "zh"), default="en")
    parser.add_argument("--output", type=Path, required=True, help="a .jsonl file")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    rows = ({"title": title, "text": text} for title, text in sample_documents(arguments.language))
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(arguments.output, "".join(lines))


if __name__ == "__main__":
    main()
