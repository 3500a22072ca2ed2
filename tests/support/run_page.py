"""Run the blocks of a page of Markdown in order, as a reader would: commands, programs, and YAML
that the page says to save. A program of its own: nothing of the checkout is imported.
"""

import re
import runpy
import shlex
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(bash|python|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"Save it as `([\w.]+)`:\n\n\Z")


def run_command(command: str) -> None:
    """Run a command in this process, which loads torch once."""
    from ernie_cmtl.cli.app import app

    words = shlex.split(command)
    if words[:2] == ["python", "-m"]:
        sys.argv = words[2:]
        runpy.run_module(words[2], run_name="__main__")
        return
    if words[0] != "ernie-cmtl":
        raise SystemExit(f"unknown command: {command}")
    if code := app(words[1:], standalone_mode=False):
        raise SystemExit(f"{command}: exit code {code}")


def main() -> None:
    """Run a page; arguments: its path, then OLD=NEW for what is done in less time."""
    page = Path(sys.argv[1]).read_text(encoding="utf-8")
    for word in sys.argv[2:]:
        old, _, new = word.partition("=")
        if old not in page:
            raise SystemExit(f"the page lacks {old!r}")
        page = page.replace(old, new)
    for block in BLOCK.finditer(page):
        kind, text = block.groups()
        if kind == "yaml":
            name = FILE.search(page, 0, block.start())
            if not name:
                raise SystemExit(f"no sentence says where this goes: {text}")
            Path(name[1]).write_text(text, encoding="utf-8")
        elif kind == "python":
            exec(text, {})
        else:
            for command in text.strip().splitlines():
                run_command(command)


if __name__ == "__main__":
    main()
