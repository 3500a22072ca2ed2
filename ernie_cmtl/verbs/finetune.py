"""The verb finetune: a run, an export or any model of transformers on a labelled set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ernie_cmtl.errors import UserError
from ernie_cmtl.export.folder import export_folder
from ernie_cmtl.finetuning.finetune import Keep
from ernie_cmtl.finetuning.finetune import finetune as finetune_pretrained
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.temporary_folder import temporary_folder
from ernie_cmtl.verbs.export import export_run


def finetune(
    model: str,
    recipe: Recipe,
    data: Path,
    step: int | None,
    report: Callable[[dict[str, Any]], None],
    corpus: Path | None = None,
    output: Path | None = None,
    task: str = "",
) -> dict[str, Any]:
    """Fine-tune an encoder by a recipe and return its scores.

    model: folder of a run or an export, or a name; data: what names of files in the recipe are
    relative to; step: of a run's checkpoint; report: is told of each model that was trained;
    corpus: in place of the run's own; output: folder in which the best model is kept; task: what
    its card calls the recipe.

    Raises:
        UserError: The model, a row or a setting is not accepted, or the output folder holds what no
            export wrote.
        RuntimeError: The kept model, loaded again, does not give what the trained one gave.
    """
    with as_pretrained(model, step, corpus) as name:
        if output is None:
            return finetune_pretrained(name, recipe, data, report)
        _check_apart(model, output)
        # Opened first: a folder that is refused is refused before anything is trained.
        with export_folder(output) as folder:
            keep = Keep(folder, output.absolute().name, model, task)
            result = finetune_pretrained(name, recipe, data, report, keep)
        result["kept"]["path"] = str(output)
        return result


def _check_apart(model: str, output: Path) -> None:
    """Refuse to replace the model that is fine-tuned by what comes of it.

    Raises:
        UserError: They are one folder.
    """
    if Path(model).exists() and Path(model).resolve() == output.resolve():
        raise UserError(
            f"--output {output} is the model itself, which it would replace; name another folder"
        )


@contextmanager
def as_pretrained(model: str, step: int | None = None, corpus: Path | None = None) -> Iterator[str]:
    """Yield a folder or name that transformers loads: a run is exported to a temporary folder, all
    else stays as it is.

    step: of a run's checkpoint; None means the newest. corpus: in place of the run's own.

    Raises:
        UserError: The run cannot be opened, or a model that is no run is given a step or a corpus.
    """
    folder = Path(model)
    if not RunFolder(folder).is_run:
        if corpus or step is not None:
            raise UserError(f"{model} is no run folder: it takes no --step or --corpus")
        yield model
        return
    with temporary_folder() as temporary:
        output = temporary / "model"
        yield export_run(folder, output, step, verified=False, corpus=corpus)["path"]
