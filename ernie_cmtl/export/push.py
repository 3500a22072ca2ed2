"""An export goes to the Hugging Face Hub, in one commit."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from ernie_cmtl.errors import UserError
from ernie_cmtl.export.folder import SUMS, written_files

_TOKEN = "HF_TOKEN"
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
# The first base is the error of the HTTP client, which is another one in other versions.
_PROBLEMS: tuple[type[BaseException], ...] = (
    *HfHubHTTPError.__bases__,
    OSError,
    ValueError,
)


@dataclass(frozen=True)
class HubPlace:
    """Where an export goes."""

    repository: str
    """ORG/NAME."""
    private: bool = False


def check_push(place: HubPlace) -> None:
    """Refuse what could not be pushed, before any work.

    Raises:
        UserError: The name is none, the token is missing, or the library is told to stay offline.
    """
    name = place.repository
    if not _NAME.fullmatch(name):
        raise UserError(f"--push {name!r} is no ORG/NAME, such as my-org/my-encoder")
    if huggingface_hub.is_offline_mode():
        raise UserError("--push needs the Hub, and HF_HUB_OFFLINE is set; unset it")
    _token()


def _token() -> str:
    """Return the token; from the environment alone, so that it stands in no history of commands.

    Raises:
        UserError: There is none.
    """
    token = os.environ.get(_TOKEN, "").strip()
    if not token:
        raise UserError(
            f"--push needs a token with the right to write, in the variable {_TOKEN} of the "
            "environment"
        )
    return token


def push(output: Path, place: HubPlace, message: str) -> str:
    """Upload the files that the export in a folder wrote, and no other; return the address of the
    commit.

    Raises:
        UserError: The Hub refuses it or cannot be reached, or the repository is public and should
            be private.
    """
    name = place.repository
    files = [*sorted(written_files(output)), SUMS]
    api = HfApi(token=_token())
    try:
        api.create_repo(name, private=place.private or None, exist_ok=True)
        if place.private and not api.model_info(name).private:
            raise UserError(
                f"exported to {output}, but not pushed: {name} is there already and public; make "
                "it private on the Hub, or push without --private"
            )
        # `upload_folder` may make several commits.
        done = api.create_commit(
            name,
            [CommitOperationAdd(path, output / path) for path in files],
            commit_message=message,
        )
    except UserError:
        raise
    except _PROBLEMS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"exported to {output}, but not pushed to {name} at {api.endpoint}: {reason}; the "
            "same command tries again"
        ) from error
    return str(done.commit_url)
