"""A run, an export or a name -> what transformers loads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ernie_cmtl.run.saved import export_run


@contextmanager
def as_pretrained(model: str, step: int | None = None) -> Iterator[str]:
    """Yield a folder or name that transformers loads: a run is exported to a temporary folder, all else stays as it is.

    step: of a run's checkpoint; None means the newest.

    Raises:
        UserError: The run cannot be opened.
    """
    folder = Path(model)
    if not (folder / "config.yaml").is_file():
        yield model
        return
    with TemporaryDirectory(prefix="ernie-cmtl-") as temporary:
        yield export_run(folder, Path(temporary) / "model", step)["path"]
