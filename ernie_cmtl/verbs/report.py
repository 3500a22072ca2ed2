"""The verb report: runs -> one HTML page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ernie_cmtl.atomic_files import write_text
from ernie_cmtl.charts import altair
from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.build.summary import summary
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.report.judgements import judgement_page
from ernie_cmtl.report.page import GENERATOR, html, write_figures
from ernie_cmtl.report.parts import Page
from ernie_cmtl.report.run_sections import run_page
from ernie_cmtl.report.runs import ReportedRun, read_run
from ernie_cmtl.verbs.inspect import InspectedSample, inspect

_SAMPLES, _LENGTH = 2, 64
_UNKNOWN_RATE = 0.01


def report(folders: Sequence[Path], output: Path, figures: Path | None = None) -> dict[str, Any]:
    """Write the page of one or several runs, of a fine-tuning or of a comparison, and return its
    path and warnings.

    figures: folder for the charts as SVG files.

    Raises:
        UserError: A folder is nothing that has a page, the packages that draw are missing, or the
            output is something else than a page of this verb.
    """
    altair()
    _check_output(output)
    page = _page(folders)
    if figures:
        write_figures(page.charts, figures)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, html(page))
    return {
        "path": str(output),
        "charts": len(page.charts),
        "warnings": list(page.warnings),
        "figures": str(figures) if figures else None,
    }


def _page(folders: Sequence[Path]) -> Page:
    if len(folders) == 1 and (page := judgement_page(folders[0])):
        return page
    runs = [read_run(path, name) for path, name in _named(folders).items()]
    corpora: dict[str, dict[str, Any]] = {}
    examples: dict[str, list[tuple[str, str]]] = {}
    for run in runs:
        if found := _corpus_of(run):
            corpora[run.name] = found
            examples |= _examples(run)
    return run_page(runs, _distinct(corpora), examples)


def _check_output(output: Path) -> None:
    """Refuse to write over anything but a page of this verb.

    Raises:
        UserError: The output is something else.
    """
    if output.is_dir():
        raise UserError(f"--output {output} is a folder; name a file, as {output / 'report.html'}")
    if output.exists() and GENERATOR.encode() not in output.read_bytes()[:4096]:
        raise UserError(
            f"{output} was not written by the verb report; move it, or choose another --output"
        )


def _named(folders: Sequence[Path]) -> dict[Path, str]:
    """Return a short name for each folder: its last part, or the whole path where that is not
    unique.
    """
    found = list(dict.fromkeys(folders))
    short = {path: "/".join(path.resolve().parts[-2:]) for path in found}
    unique = len(set(short.values())) == len(short)
    return short if unique else {path: str(path) for path in found}


def _corpus_of(run: ReportedRun) -> dict[str, Any] | None:
    """Return the summary of a run's corpus; None, with a problem of the run, where it cannot be
    read.
    """
    try:
        corpus = Corpus(run.config.corpus)
        return summary(corpus.manifest, run.config.corpus, {}, _UNKNOWN_RATE)
    except (UserError, OSError) as error:
        run.problems.append(f"its corpus cannot be read: {error}")
        return None


def _distinct(corpora: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each corpus once, by the name of the first run that reads it."""
    found: dict[str, dict[str, Any]] = {}
    for name, corpus in corpora.items():
        if corpus["fingerprint"] not in {other["fingerprint"] for other in found.values()}:
            found[name] = corpus
    return found


def _examples(run: ReportedRun) -> dict[str, list[tuple[str, str]]]:
    """Return what each task makes of the text; a task that cannot be shown is a problem of the
    run.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for task in run.table.tasks:
        config = run.config.tasks.get(task, TaskConfig())
        try:
            samples = inspect(run.config.corpus, task, config, _SAMPLES, _LENGTH, run.config.seed)
        except (UserError, OSError) as error:
            run.problems.append(f"task {task} cannot be shown: {error}")
            continue
        found[task] = [row for sample in samples for row in _rows(sample)]
    return found


def _rows(sample: InspectedSample) -> list[tuple[str, str]]:
    if not sample.input:
        return [("text", " ".join(sample.tokens)), ("", "nothing to predict here")]
    labels = [
        (head, "  ".join(f"{sample.input[place]}@{place}={label}" for place, label in rows))
        for head, rows in sample.targets.items()
    ]
    return [("input", " ".join(sample.input)), *labels]
