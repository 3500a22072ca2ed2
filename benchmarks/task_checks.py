"""`tasks check` on prepared corpora, as rows of Markdown for benchmarks/results.

python benchmarks/task_checks.py --corpus EN ZH --tasks capitalization sentence_reordering [--length
128 512]
"""

import argparse
from itertools import product

from ernie_cmtl.cli.tasks_check import failures, spread
from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.task_checks.check import TaskCheck
from ernie_cmtl.task_registry import find_task
from ernie_cmtl.verbs.tasks_check import tasks_check

FORMS = {
    "sequences": (
        "length",
        "segment_lengths",
        "segments",
        "truncation",
        "passage_position",
        "edge_tokens",
        "edge_classes",
        "bag_of_words",
    ),
    "tokens": ("token_identity", "neighbours", "token_position"),
}


def leak_rows(result: TaskCheck, where: str, columns: tuple[str, ...]) -> None:
    for head in result["balance"]:
        found = {leak["baseline"]: leak for leak in result["leaks"] if leak["head"] == head}
        if columns[0] in found:
            cells = [
                f"{found[name]['accuracy']:.1%}" + ("*" if found[name]["leaks"] else "")
                for name in columns
            ]
            chance = found[columns[0]]["chance"]
            print(f"| {result['task']} | {where} | {chance:.1%} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", nargs="+", required=True)
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--length", nargs="+", type=int, default=[128, 512])
    given = parser.parse_args()
    results: list[tuple[str, TaskCheck]] = []
    for corpus in map(Corpus, given.corpus):
        tasks = [task for task in given.tasks if corpus.language in find_task(task).languages]
        for task, length in product(tasks, given.length):
            results.append(
                (
                    f"{corpus.language}, {length}",
                    tasks_check(corpus, task, TaskConfig(), length, 4000, 1),
                )
            )
    results.sort(key=lambda row: given.tasks.index(row[1]["task"]))
    for where, result in results:
        for head, found in result["balance"].items():
            print(
                f"| {result['task']} | {where} | {head} | {found['labels']:,} | {spread(found)} |"
            )
    for columns in FORMS.values():
        print(
            "\n| task | corpus | chance |",
            " | ".join(name.replace("_", " ") for name in columns),
            "|",
        )
        for where, result in results:
            leak_rows(result, where, columns)
    for where, result in results:
        print(
            result["task"],
            where,
            result["samples"],
            f"{result['tokens_per_second']:,.0f}",
            "; ".join(failures(result)),
        )


if __name__ == "__main__":
    main()
