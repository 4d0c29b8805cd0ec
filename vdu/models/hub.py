"""Models on the Hugging Face hub: configurations, and weights as safetensors; never code, never a pickle."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from vdu.errors import UserError
from vdu.models.files import files_to_fetch
from vdu.reading import read_json

PLAIN = ("*.json", "*/*.json", "*/merges.txt")  # files fetched besides the weights; none is executed


def is_id(name: str) -> bool:
    """Whether a name has the form of a repository on the hub: owner/name."""
    form = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*", name)
    return form is not None and "--" not in name and ".." not in name


def fetch(name: str, with_weights: bool = True) -> Path:
    """Fetch a repository's configuration and the weights of its parts, or find them in the cache; returns their folder.

    Args:
        name: owner/name.
        with_weights: False to fetch the configuration alone.

    Raises:
        UserError: if there is no such repository, if its licence must be accepted first, or if it is not in the cache and the
            hub cannot be reached.
    """
    if not is_id(name):
        raise UserError(f"There is no folder '{name}' here; give one, or a hub id of the form owner/name.")
    with in_one_sentence(name, "model", "Choose a shipped model, or give a local diffusers folder."):
        folder = Path(snapshot_download(name, allow_patterns=[*PLAIN]))
        if not with_weights:
            return folder
        index = folder / "model_index.json"
        parts = read_json(index) if index.is_file() else {}
        return Path(snapshot_download(name, allow_patterns=files_to_fetch(parts, files_of(name, folder))))


def files_of(name: str, folder: Path) -> list[str]:
    """The paths of all files in a repository; without a network, of those in the cache, which is in `folder`."""
    with suppress(Exception):  # whatever the hub's HTTP client raises
        return HfApi().list_repo_files(name)
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


@contextmanager
def in_one_sentence(name: str, what: str, instead: str) -> Iterator[None]:
    """Turn errors of the hub's client into a UserError of one sentence.

    Args:
        name: owner/name.
        what: what the repository should hold: "model" or "data set".
        instead: a sentence on what to do without a network.
    """
    try:
        yield
    except GatedRepoError as error:
        raise UserError(
            f"'{name}' asks for its licence to be accepted: do so on its page, then log in with `hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"There is no folder '{name}' here and no {what} of that name on the hub.") from error
    except Exception as error:  # also whatever the hub's HTTP client raises
        raise UserError(
            f"'{name}' is not a folder here, and could not be fetched from the hub: there is no network, or the hub did not "
            f"answer. {instead}"
        ) from error


def publish(folder: Path, name: str, token: str) -> str:
    """Upload a model folder as a new private repository of the token's owner, who can make it public.

    Args:
        folder: a diffusers folder.
        name: owner/name; no repository of this name may exist yet.
        token: an access token with the right to create repositories.

    Returns:
        the repository's web address.

    Raises:
        UserError: if the name is taken or belongs to somebody else, or the hub does not answer.
    """
    if not is_id(name):
        raise UserError(f"'{name}' cannot be a repository's name; write it as owner/name.")
    api = HfApi(token=token)
    try:
        address = api.create_repo(name, private=True)
        try:
            api.upload_folder(repo_id=name, folder_path=folder)
        except Exception:
            with suppress(Exception):  # an empty repository would block the next try
                api.delete_repo(name)
            raise
    except Exception as error:  # also whatever the hub's HTTP client raises
        raise UserError(
            f"'{name}' could not be written to the hub: the name is taken or not yours, or there is no network."
        ) from error
    return str(address)
