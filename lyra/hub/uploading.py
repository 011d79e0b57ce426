"""Uploading a folder to the Hugging Face Hub, whatever model it has."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled

from ..errors import InputError, one_line

# Two folders deep, and no part of an address or of `a/b`; or a drive of Windows.
_ABSOLUTE_PATH = re.compile(r"(?<![\w.:/~-])(/[\w.-]+/[\w.-]+|[A-Za-z]:\\+\w)")
# By which it is known that somebody has put something into a repository; the Hub writes the card of a new Space.
_CONTENT = {"model": {"config.json", "README.md"}, "space": {"app.py", "index.html", "Dockerfile"}}
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}")


def upload(
    folder: Path,
    repo_id: str,
    private: bool,
    marker: str,
    commit_message: str,
    replaced: Sequence[str] = (),
    token: str | None = None,
    repo_type: str = "model",
) -> str:
    """Uploads a folder in one commit.

    Args:
        repo_id: `user/name`, made if it is new.
        private: whether a new repository is private.
        marker: a file by which a repository of this kind of model is known; those of others are left alone.
        replaced: patterns of files of an older version to delete.
        token: by default that of `hf auth login` or `HF_TOKEN`.
        repo_type: `model` or `space`.

    Returns:
        The SHA of the commit.

    Raises:
        InputError: for a missing or refused token, a name that is taken, or a Hub that cannot be reached or answers
            with an error. The repository then has its earlier content.
    """
    api = signed_in(token)
    with hub_errors(repo_id):
        _prepare_repository(api, repo_id, private, marker, repo_type)
        return api.upload_folder(
            repo_id=repo_id,
            repo_type=repo_type,
            folder_path=folder,
            commit_message=commit_message,
            delete_patterns=list(replaced),
        ).oid


def check_and_upload(
    artifact: Path,
    repo_id: str,
    private: bool,
    dry_run: bool,
    marker: str,
    commit_message: str,
    replaced: Sequence[str] = (),
    token: str | None = None,
) -> str | None:
    """Checks that no text of a folder tells what is private, lists its files, and unless it is a dry run uploads it.

    Returns:
        The SHA of the commit, None of a dry run.

    Raises:
        InputError: for such a text, or as [`upload`].
    """
    files = sorted(file for file in artifact.rglob("*") if file.is_file())
    check_private(files)
    print_files(repo_id, artifact, files)
    return None if dry_run else upload(artifact, repo_id, private, marker, commit_message, replaced, token)


def repository_of(name: str, token: str | None) -> str:
    """`user/name` for a name, whose user is that of the token unless it says another.

    Raises:
        InputError: as [`signed_in`].
    """
    api = signed_in(token)
    return name if "/" in name else f"{api.whoami()['name']}/{name}"


def signed_in(token: str | None = None) -> HfApi:
    """Raises InputError if there is no token, or the Hub refuses it."""
    token = token or get_token()
    if token is None:
        raise InputError("no Hugging Face token found: run `hf auth login`, or set HF_TOKEN")
    api = HfApi(token=token)
    with hub_errors("the token"):
        api.whoami()
    return api


def is_private(repo_id: str, token: str | None) -> bool:
    """Whether a model on the Hub is private.

    Raises:
        InputError: as [`signed_in`], or if there is no such model.
    """
    with hub_errors(repo_id):
        return bool(signed_in(token).model_info(repo_id).private)


def print_files(repo_id: str, folder: Path, files: Sequence[Path]) -> None:
    """What will be uploaded."""
    print(f"to {repo_id}:")
    for file in files:
        print(f"  {file.relative_to(folder)}  {file.stat().st_size:,} bytes")


def check_private(files: Iterable[Path]) -> None:
    """No JSON or Markdown among the files may tell a token or the folders of the user."""
    for file in (file for file in files if file.suffix in (".json", ".md")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if _TOKEN.search(line):
                raise InputError(f"{file}, line {number}: contains a Hugging Face token; remove it and revoke it")
            if found := _ABSOLUTE_PATH.search(line):
                raise InputError(f"{file}, line {number}: contains a local path, {found.group()}; remove it to publish")


def _prepare_repository(api: HfApi, repo_id: str, private: bool, marker: str, repo_type: str) -> None:
    """Makes the repository if it is new."""
    sdk = "gradio" if repo_type == "space" else None
    api.create_repo(repo_id, repo_type=repo_type, space_sdk=sdk, private=private or None, exist_ok=True)
    info = api.repo_info(repo_id, repo_type=repo_type)
    known = {file.rfilename for file in info.siblings or []}
    if _CONTENT[repo_type] & known and marker not in known:
        raise InputError(f"{repo_id}: this repository already contains another {repo_type}; choose another name")
    if private and not info.private:
        raise InputError(f"{repo_id}: exists and is public; change that in its settings, or leave --private out")


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turns the ways in which the Hub says no into one line each."""
    try:
        yield
    except HFValidationError as error:
        raise InputError(f"{what}: not a valid repository name ({one_line(error)})") from None
    except OfflineModeIsEnabled:
        raise InputError("HF_HUB_OFFLINE is set, so that the Hub cannot be reached") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        reasons = {
            401: "the token was rejected; run `hf auth login`, or set HF_TOKEN",
            403: "the name is taken or the token may not write there",
            404: "no such user, organisation or repository, or the token may not see it",
            409: "the name is taken",
        }
        reason = reasons.get(status, "try again; what was there before is unchanged")
        said = (error.server_message or one_line(error)).splitlines()[0][:200]
        raise InputError(f"{what}: the Hub returned {status} ({said}): {reason}") from None
    except (OSError, RuntimeError, ValueError, HTTPError) as error:
        if isinstance(error, InputError):
            raise
        cause = error.__cause__ or error
        raise InputError(f"{what}: nothing was published ({one_line(cause)[:300]}); try again") from None
