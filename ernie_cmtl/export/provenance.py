"""Where an exported model comes from, as far as it is known for certain."""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from ernie_cmtl.errors import UserError
from ernie_cmtl.export.trained import Provenance

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


def provenance(
    language: str, started_from: str | None, license: str | None, datasets: Sequence[str]
) -> Provenance:
    """Return what a card says; started_from: `encoder.init_from` of the run.

    Raises:
        UserError: A license or a dataset is no name.
    """
    for option, value in [("--license", license), *(("--dataset", name) for name in datasets)]:
        if value is not None and not _NAME.fullmatch(value):
            example = "apache-2.0" if option == "--license" else "ORG/NAME"
            raise UserError(f"{option} {value!r} is no name of the Hub, such as {example}")
    return Provenance(language, license, tuple(datasets), _hub_name(started_from))


def _hub_name(started_from: str | None) -> str | None:
    """Return the name of a model of the Hub; None for a folder, and for what may have been one."""
    if started_from is None or Path(started_from).exists():
        return None
    try:
        # A name and a folder that was there look alike; what came from the Hub is in its cache.
        found = try_to_load_from_cache(started_from, "config.json")
    except HFValidationError:
        return None
    return started_from if isinstance(found, str) else None
