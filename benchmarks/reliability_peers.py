"""Kills, failing disks, damage and other worker counts: the same tests on `transformers.Trainer`,
on accelerate and on ours.

    python benchmarks/reliability_peers.py [--kills 20] [--points 30] [--test kills saves damage
    workers]

Prints a table for each test, in counts. Every attempt is a process of its own, forked from one that
has imported everything and trained nothing; "by itself" means that the same call, made again, goes
on. What is run stands in `reliability/sides.py`.
"""

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.reliability.attempt import ERRORS, FUNCTIONS, Attempt
from benchmarks.reliability.processes import (
    end,
    import_what_runs_import,
    last_step,
    run,
    same,
    started,
    trace,
    wait_until,
)
from benchmarks.reliability.sides import SAVE_EVERY, SIDES
from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.request import new_corpus
from ernie_cmtl.corpus.sample import sample_documents

LONG, SHORT, BROKEN = 30, 20, 12
"""Steps of a run that is killed (two and a half times the data of the peers), of one whose disk
fails, and before it does.
"""
TRACES = {
    "same rows in every step": "rows",
    "same masked tokens": "inputs",
    "losses bit-equal": "loss",
}
Counts = Counter[str]


# (a) Kills


def killed(
    side: str, attempt: Attempt, save_seconds: float, inside: bool, chance: random.Random
) -> bool:
    """Kill a run at a random instant; tell whether it was inside a save."""
    target = (
        chance.randrange(SAVE_EVERY, attempt.steps, SAVE_EVERY)
        if inside
        else chance.randrange(1, attempt.steps)
    )
    process = started(side, attempt)
    wait_until(lambda: last_step(attempt.folder) >= target, process)
    mark = attempt.folder / "saving"
    if inside:
        wait_until(mark.exists, process)
    time.sleep(chance.random() * (save_seconds if inside else 0.02))
    process.kill()
    process.join()
    return mark.exists()


def kills(side: str, base: Attempt, given: argparse.Namespace) -> Counts:
    """Kill each run once, then make the same call again."""
    whole = replace(base, folder=base.folder / "whole")
    assert run(side, whole)
    seconds = statistics.median(map(float, (whole.folder / "saves.txt").read_text().split()))
    chance, count = random.Random(1), Counts(kills=given.kills)
    for number in range(given.kills):
        attempt = replace(whole, folder=base.folder / f"kill-{number}")
        count["inside a save"] += killed(side, attempt, seconds, number % 2 == 0, chance)
        goes_on = run(side, attempt)
        count["goes on by itself"] += goes_on
        for what, key in TRACES.items():
            count[what] += goes_on and trace(attempt.folder, key) == trace(whole.folder, key)
        count["weights and moments bit-equal"] += goes_on and same(
            end(attempt.folder), end(whole.folder)
        )
    return count


# (b) and (c): a run of 20 steps that was killed after its twelfth, with checkpoints of the fifth
# and the tenth


def prepared(side: str, base: Attempt) -> tuple[Attempt, dict[str, torch.Tensor]]:
    """Return such a run, and what it comes to where nothing more happens."""
    broken = replace(base, folder=base.folder / "broken", steps=SHORT, dies_after=BROKEN)
    assert not run(side, broken)
    undisturbed = copied(broken)
    assert run(side, undisturbed)
    return broken, end(undisturbed.folder)


def copied(attempt: Attempt) -> Attempt:
    folder = attempt.folder.with_name("copy")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(attempt.folder, folder)
    return replace(attempt, folder=folder, dies_after=0)


def saved(attempt: Attempt) -> list[Path]:
    """Return the checkpoints, oldest first."""
    found = [
        path
        for path in (attempt.folder / "checkpoints").iterdir()
        if path.name[-1].isdigit() and path.name[0] != "."
    ]
    return sorted(found, key=lambda path: int("".join(filter(str.isdigit, path.name))))


def faults(side: str, broken: Attempt, points: int) -> Iterator[tuple[str, int, int]]:
    """Yield each call of a save with one of the errors in turn, and sizes of a file at which
    writing ends.
    """
    for name in FUNCTIONS:
        counted = replace(copied(broken), fault=(name, 0, 0))
        assert run(side, counted)
        calls = int((counted.folder / "calls.txt").read_text())
        yield from ((name, number, ERRORS[number % len(ERRORS)]) for number in range(1, calls + 1))
    sizes = sorted({file.stat().st_size for file in saved(broken)[-1].rglob("*") if file.is_file()})
    limits = {0, *(size - 1 for size in sizes), *range(1, sizes[-1], max(1, sizes[-1] // points))}
    yield from (("size", limit, 0) for limit in sorted(limits))


def saves(side: str, base: Attempt, given: argparse.Namespace) -> Counts:
    """Let the save of step 15 fail at every point, then make the same call again on a sound
    disk.
    """
    broken, expected = prepared(side, base)
    count = Counts()
    for fault in faults(side, broken, given.points):
        attempt = replace(copied(broken), fault=fault)
        count["points"] += 1
        failed = not run(side, attempt)
        count["the save failed"] += failed
        attempt = replace(attempt, fault=None)
        if not failed or run(side, attempt):
            count["goes on by itself"] += 1
            count["ends as without the fault"] += same(end(attempt.folder), expected)
        elif saved(attempt):
            shutil.rmtree(saved(attempt)[-1])
            count["goes on once the newest checkpoint is removed by hand"] += bool(
                saved(attempt)
            ) and run(side, attempt)
    return count


def damages(path: Path, other: Path) -> Iterator[bytes | None]:
    """Yield what a file may have become: cut, flipped, gone, another checkpoint's."""
    data = path.read_bytes()
    size = len(data)
    yield from (data[: size // 2], data[:-1], b"", None)
    for place in sorted({size // 9, size // 3, size // 2, size * 2 // 3, size - 1}):
        yield data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]
    if other.is_file() and other.read_bytes() != data:
        yield other.read_bytes()


def damage(side: str, base: Attempt, given: argparse.Namespace) -> Counts:
    """Damage each file of the newest checkpoint, then make the same call again."""
    broken, expected = prepared(side, base)
    older, newest = saved(broken)[-2:]
    count = Counts()
    for file in sorted(file.relative_to(newest) for file in newest.rglob("*") if file.is_file()):
        for data in damages(newest / file, older / file):
            attempt = copied(broken)
            target = attempt.folder / "checkpoints" / newest.name / file
            target.unlink()
            if data is not None:
                target.write_bytes(data)
            count["damages"] += 1
            if not run(side, attempt):
                outcome = "stops with an error"
            elif same(end(attempt.folder), expected):
                outcome = "goes on by itself and ends as without the damage"
            else:
                outcome = "goes on by itself and ends otherwise"
            count[outcome] += 1
            print(
                side,
                file,
                "gone" if data is None else f"{len(data)} bytes",
                outcome,
                sep=": ",
                file=sys.stderr,
            )
    return count


# (d) Workers

CASES = {
    "two workers": [(2, 0)],
    "two loader processes": [(1, 2)],
    "one worker, killed, then two": [(1, 0), (2, 0)],
    "two workers, killed, then one": [(2, 0), (1, 0)],
}
"""Name -> workers and loader processes of each part of a run."""


def workers(side: str, base: Attempt, given: argparse.Namespace) -> Counts:
    """Compare rows and masked tokens of each step with those of one worker without loader
    processes.
    """
    whole = replace(base, folder=base.folder / "one")
    assert run(side, whole)
    count = Counts(steps=LONG)
    for name, parts in CASES.items():
        folder = base.folder / name.replace(" ", "-")
        for number, (ranks, loaders) in enumerate(parts):
            dies = 18 if number < len(parts) - 1 else 0
            run(
                side, replace(whole, folder=folder, workers=ranks, loaders=loaders, dies_after=dies)
            )
        for key, what in (("rows", "same rows"), ("inputs", "same masks")):
            pairs = zip(trace(folder, key), trace(whole.folder, key), strict=False)
            count[f"{name}: steps with the {what}"] = sum(one == other for one, other in pairs)
    return count


ALL, SAVERS = list(SIDES), list(SIDES)[:3]
TESTS: dict[str, tuple[Callable[[str, Attempt, argparse.Namespace], Counts], list[str]]] = {
    "kills": (kills, ALL),
    "saves": (saves, SAVERS),
    "damage": (damage, SAVERS),
    "workers": (workers, ALL),
}
"""What a sampler knows makes no difference to files."""


def show(name: str, table: dict[str, Counts]) -> None:
    rows = dict.fromkeys(what for counts in table.values() for what in counts)
    print(f"\n| {name} | {' | '.join(table)} |\n|---{'|---' * len(table)}|")
    for what in rows:
        print(f"| {what} | {' | '.join(str(counts[what]) for counts in table.values())} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--points", type=int, default=30, help="sizes at which writing ends")
    parser.add_argument("--test", nargs="+", choices=TESTS, default=list(TESTS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    packages = " ".join(
        f"{name} {version(name)}" for name in ("torch", "transformers", "accelerate", "safetensors")
    )
    print(
        time.strftime("%Y-%m-%d"), platform.machine(), "python", platform.python_version(), packages
    )
    with TemporaryDirectory() as name:
        corpus = Path(name) / "corpus"
        text = Path(name) / "text.jsonl"
        text.write_text(
            "".join(
                json.dumps({"text": text}) + "\n" for _, text in islice(sample_documents("en"), 12)
            )
        )
        settings = PrepareConfig.model_validate({"tokenizer": {"vocabulary_size": 2000}})
        build(new_corpus([str(text)], corpus, "en", settings), 1, lambda *_: None)
        import_what_runs_import(Attempt(corpus, Path(name) / "imports", SAVE_EVERY))
        for test in given.test:
            began = time.monotonic()
            function, sides = TESTS[test]
            table = {}
            for side in sides:
                table[side] = function(side, Attempt(corpus, Path(name) / test / side, LONG), given)
                print(test, side, dict(table[side]), file=sys.stderr, flush=True)
            show(test, table)
            print(f"\n{time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
