"""The folders of the page: models for all visitors, and what each visitor uploaded and made."""

import re
import secrets
import shutil
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal

from huggingface_hub import snapshot_download

from ..errors import InputError, one_line
from ..files import read_json
from .jobs import DONE, INPUTS, JOB, Job

VISITORS = "visitors"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,59}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class Workspace:
    """A folder with models that every visitor may use, and a folder for each visitor, whose name nobody can guess.

    Args:
        root: made if there is none.
        hub: whether a model may be one of the Hub.
        token: for that; None is that of whoever started the page, False is none.
    """

    def __init__(self, root: Path, hub: bool = True, token: Literal[False] | None = False):
        self.root, self.hub, self.token = root.absolute(), hub, token
        (self.root / VISITORS).mkdir(parents=True, exist_ok=True)

    def visitor(self, token: str) -> "Visitor":
        """Raises InputError for something that is no token."""
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise InputError("the page has lost its visitor; load it again")
        return Visitor(self, self.root / VISITORS / token)

    def job_folders(self) -> list[Path]:
        """Of all visitors."""
        return [file.parent for file in (self.root / VISITORS).glob(f"*/*/{JOB}")]

    def models(self) -> dict[str, Path]:
        """The models for all visitors, by name."""
        return {folder.name: folder for folder in sorted(self.root.iterdir()) if _is_model(folder)}

    def download(self, name: str) -> Path:
        """A model of the Hub, without its code.

        Raises:
            InputError: if it cannot be had, or is none of Lyra.
        """
        fetch = partial(snapshot_download, name, token=self.token)
        try:
            folder = Path(fetch(allow_patterns=["config.json", "tokenizer_config.json"]))
            kind = read_json(folder / "config.json").get("model_type") if _is_model(folder) else None
            if kind == "lyra":
                return Path(fetch(allow_patterns=["*.json", "*.safetensors"]))
        except Exception as error:  # the library raises many kinds; all mean that it cannot be had
            raise InputError(f"model: {name} cannot be loaded from the Hub ({one_line(error)[:200]})") from None
        raise InputError(f"model: {name} is no model of Lyra")


class Visitor:
    """What one visitor has."""

    def __init__(self, workspace: Workspace, folder: Path):
        self.workspace, self.folder = workspace, folder

    def jobs(self, verb: str) -> list[Job]:
        """The jobs of a verb, the latest first."""
        files = sorted(self.folder.glob(f"*/{JOB}"), key=lambda file: file.parent.stat().st_ctime, reverse=True)
        return [job for job in (Job.load(file.parent) for file in files) if job.verb == verb]

    def job(self, verb: str, name: str | None) -> Job | None:
        """The job of that name, if there is one."""
        return next((job for job in self.jobs(verb) if job.name == name), None)

    def scratch(self, verb: str) -> Path:
        """An empty folder for what a tab makes without a job."""
        folder = self.folder / f".{verb}"  # no name that a job can have
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def new_folder(self, verb: str, name: str = "") -> Path:
        """An empty folder for a job.

        Raises:
            InputError: for a name that is in use, or cannot be one.
        """
        if not name:
            unused = (f"{verb}-{number}" for number in count(1))
            name = next(each for each in unused if not (self.folder / each).exists())
        if not _NAME.fullmatch(name):
            raise InputError(f"name: expected up to 60 letters, digits, spaces and any of . _ -, got {name!r}")
        if (self.folder / name).exists():
            raise InputError(f"name: {name!r} is there already; choose another")
        (self.folder / name / INPUTS).mkdir(parents=True)
        return self.folder / name

    def own_models(self) -> dict[str, Path]:
        """Those that were trained here, by name."""
        return {job.name: job.result for job in self.jobs("train") if job.state == DONE}

    def models(self) -> dict[str, Path]:
        """Trained here, then those for all, by name."""
        own = self.own_models()
        return own | {name: path for name, path in self.workspace.models().items() if name not in own}

    def model(self, name: str | None) -> Path:
        """The folder of a model, downloaded if the name is a Hub id.

        Raises:
            InputError: if there is none.
        """
        name = name or ""
        if (known := self.models().get(name)) is not None:
            return known
        if not self.workspace.hub or not _HUB_ID.fullmatch(name) or ".." in name:
            expected = "one of the list or a Hub id such as user/name" if self.workspace.hub else "one of the list"
            raise InputError(f"model: expected {expected}, got {name!r}")
        return self.workspace.download(name)


def new_token() -> str:
    """The name of a visitor's folder."""
    return secrets.token_urlsafe(16)


def keep(upload: str, folder: Path) -> str:
    """Copies an uploaded file to a job; returns its path there.

    Raises:
        InputError: if the job has one of that name.
    """
    name = Path(upload).name
    if (folder / INPUTS / name).exists():
        raise InputError(f"table: two files are named {name}; rename one")
    shutil.copyfile(upload, folder / INPUTS / name)
    return f"{INPUTS}/{name}"


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "tokenizer_config.json").is_file()
