"""The configurations that come with the project: in a checkout `configs/`, in an installed wheel
the same files among its data.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ernie_cmtl.errors import UserError, choices

_INSTALLED = "share/ernie-cmtl/configs/"
"""Where the wheel puts them, below the prefix of the environment (pyproject.toml)."""
_BESIDE = Path(__file__).parents[1] / "configs"
"""In a checkout."""


def shipped_configs() -> dict[str, Path]:
    """Return name -> file of every configuration and recipe; a name is the path without its ending,
    as `quickstart` or `finetune/cola`.
    """
    if (_BESIDE / "quickstart.yaml").is_file():
        return {
            path.relative_to(_BESIDE).with_suffix("").as_posix(): path
            for path in sorted(_BESIDE.rglob("*.yaml"))
        }
    try:
        installed = distribution("ernie-cmtl")
    except PackageNotFoundError:
        return {}
    found: dict[str, Path] = {}
    for file in installed.files or []:
        _, separator, name = file.as_posix().partition(_INSTALLED)
        if separator and file.suffix == ".yaml":
            # `pip install --target` puts data beside the packages and records another place.
            places = (file.locate(), installed.locate_file(_INSTALLED + name))
            there = [Path(str(place)) for place in places if Path(str(place)).is_file()]
            found |= {name.removesuffix(".yaml"): path for path in there[:1]}
    return dict(sorted(found.items()))


def shipped_config(name: str) -> Path:
    """Return the file of a configuration.

    Raises:
        UserError: There is none of this name.
    """
    found = shipped_configs()
    if name.removesuffix(".yaml") not in found:
        raise UserError(
            f"no configuration {name!r} is shipped; {choices(name, found, 'there are')}"
        )
    return found[name.removesuffix(".yaml")]
