"""A tab for a command that takes its time: a form, and the jobs that a visitor started with it."""

import html
import re
import shutil
from pathlib import Path
from typing import Any

import gradio as gr

from ...errors import InputError
from ...hub.card import escape
from ..jobs import DONE, RUNNING, STOPPED, WAITING, Job, Progress
from ..site import Site

_FLAG = re.compile(r"(?:argument )?--(\w+)\b")  # as argparse or lyra begins a message
_PICTURES = 12


class JobTab:
    """What tabs of commands share; a subclass says what is asked and what is shown.

    Attributes:
        verb: of the command.
        title: of the tab.
        action: on the button.
    """

    verb: str
    title: str
    action: str

    def __init__(self, site: Site, token: gr.BrowserState):
        self.site, self.token = site, token
        with gr.Tab(self.title, id=self.verb) as self.tab, gr.Row():
            with gr.Column(scale=2, min_width=320):
                self.fields = self.form()
                for flag, field in self.fields.items():
                    field.elem_id = f"{self.verb}-{flag}"
                self.start = gr.Button(self.action, variant="primary", elem_id=f"{self.verb}-start")
                self.problem = gr.Markdown(elem_id=f"{self.verb}-problem", elem_classes="problem")
            with gr.Column(scale=3, min_width=320):
                self._build_panel()
        self._connect()

    # ── To be said by a subclass ─────────────────────────────────────────────────────────────────────────────────────

    def form(self) -> dict[str, Any]:
        """Builds the fields; gives them by the names of their flags."""
        raise NotImplementedError

    def arguments(self, folder: Path, values: dict[str, Any], models: Any) -> list[str]:
        """The command line of a job in a new folder; takes over what was uploaded.

        Args:
            values: of the fields.
            models: finds the folder of a model by its name.

        Raises:
            InputError: for what can be seen at once.
        """
        raise NotImplementedError

    def build_result(self) -> list[Any]:
        """Builds the components that show what a job wrote."""
        raise NotImplementedError

    def show(self, job: Job) -> list[Any]:
        """Their values."""
        raise NotImplementedError

    def seen(self, job: Job) -> Any:
        """What the components depend on besides the state of a job."""
        return None

    # ── Shared ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _build_panel(self) -> None:
        self.choice = gr.Dropdown([], label="Run", elem_id=f"{self.verb}-job", visible=False)
        self.state = gr.Markdown(elem_id=f"{self.verb}-state")
        self.bar = gr.HTML(visible=False, elem_id=f"{self.verb}-bar")
        with gr.Row():
            self.stop = gr.Button("Stop", visible=False, elem_id=f"{self.verb}-stop")
            self.resume = gr.Button("Resume", visible=False, elem_id=f"{self.verb}-resume")
            self.download = gr.DownloadButton("Download all (zip)", visible=False, elem_id=f"{self.verb}-download")
        self.results = self.build_result()
        with gr.Accordion("What the command printed", open=False, visible=False) as self.printed:
            self.log = gr.Textbox(show_label=False, lines=12, max_lines=12, elem_classes="log")
        self.known = gr.State(None)
        self.timer = gr.Timer(1.0, active=False)

    def _connect(self) -> None:
        panel = [self.known, self.state, self.bar, self.stop, self.resume, self.download, self.printed, self.log]
        panel += [self.timer, *self.results, *with_info(self.fields)]
        reading, asked = [self.token, self.choice, self.known], list(self.fields.values())
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        self.start.click(
            self._start, [self.token, *asked], [self.problem, self.choice, *with_info(self.fields)], **private
        )
        self.choice.change(self._refresh, reading, panel, **private)
        self.timer.tick(self._refresh, reading, panel, **private)
        self.stop.click(self._stop, reading[:2], None, **private)
        self.resume.click(self._resume, reading[:2], [self.problem, self.known], **private).then(
            self._refresh, reading, panel, **private
        )
        if "model" in self.fields:
            offer_models(self.site, self.tab, self.token, self.fields["model"])

    def arrive(self, token: str) -> Any:
        """The latest job, when the page is opened."""
        return self._choices(token, None)

    def _choices(self, token: str, chosen: str | None) -> Any:
        names = [job.name for job in self.site.workspace.visitor(token).jobs(self.verb)]
        chosen = chosen or (names[0] if names else None)
        return gr.update(choices=names, value=chosen, visible=bool(names))

    def _start(self, token: str, *values: Any) -> list[Any]:
        visitor = self.site.workspace.visitor(token)
        given = dict(zip(self.fields, values, strict=True))
        name, folder = str(given.pop("name", "") or "").strip(), None
        try:
            self.site.queue.check_room()
            folder = visitor.new_folder(self.verb, name)
            arguments = self.arguments(folder, given, visitor.model)
            self.site.queue.add(Job(folder, self.verb, tuple(arguments)))
        except InputError as error:
            if folder is not None:
                shutil.rmtree(folder)
            message = without_folders(str(error), folder, *self._uploads(given))
            return [as_problem(message), gr.skip(), *point_at(self.fields, message)]
        return ["", self._choices(token, folder.name), *point_at(self.fields, "")]

    def _uploads(self, given: dict[str, Any]) -> list[Path]:
        """The folders of what was uploaded."""
        files = (given[flag] for flag, field in self.fields.items() if isinstance(field, gr.File))
        return [Path(file).parent for each in files if each for file in ([each] if isinstance(each, str) else each)]

    def _stop(self, token: str, name: str | None) -> None:
        if (job := self.site.workspace.visitor(token).job(self.verb, name)) is not None:
            self.site.queue.stop(job)

    def _resume(self, token: str, name: str | None) -> tuple[str, None]:
        job = self.site.workspace.visitor(token).job(self.verb, name)
        try:
            if job is not None and job.can_resume:
                self.site.queue.resume(job)
        except InputError as error:
            return as_problem(str(error)), None
        return "", None

    def _refresh(self, token: str, name: str | None, known: Any) -> Any:
        job = self.site.workspace.visitor(token).job(self.verb, name)
        if job is None:
            return gr.skip()
        log, progress, now = job.log(), job.progress(), (name, job.state, self.seen(job))
        busy = job.state in (WAITING, RUNNING)
        shown = [
            now,
            self._describe(job),
            gr.update(visible=busy, value=_bar(progress)),
            gr.update(visible=busy),
            gr.update(visible=job.can_resume),
        ]
        texts = [gr.update(visible=bool(log)), log, gr.Timer(active=busy)]
        if now == known:
            return [*shown, gr.skip(), *texts, *[gr.skip()] * (len(self.results) + len(with_info(self.fields)))]
        download = gr.update(visible=job.state == DONE, value=_zipped(job) if job.state == DONE else None)
        return [*shown, download, *texts, *self.show(job), *point_at(self.fields, job.message)]

    def _describe(self, job: Job) -> str:
        if job.state == WAITING:
            return f"**{job.name}** waits; runs before it: {self.site.queue.before(job)}."
        if job.state == RUNNING:
            return f"**{job.name}** is running. You may close this page and come back."
        if job.state == DONE:
            return f"**{job.name}** is done, after {job.seconds:.0f} seconds."
        what = "stopped" if job.state == STOPPED else "failed"
        return f"**{job.name}** {what}: {html.escape(job.message)}"


def with_info(fields: dict[str, Any]) -> list[Any]:
    """The fields that have a place for a message."""
    return [field for field in fields.values() if hasattr(field, "info")]


def point_at(fields: dict[str, Any], message: str, named: str = "") -> list[Any]:
    """Puts a message beside the field that it names, or that is named; updates of those [`with_info`]."""
    match = _FLAG.match(message)
    named = named or (match[1] if match else message.split(":")[0])
    updates = []
    for flag, field in fields.items():
        if hasattr(field, "info"):
            updates.append(gr.update(info=f"⚠ {message}" if message and named == flag else field.info))
    return updates


def model_field(site: Site) -> gr.Dropdown:
    """A list of models, which [`offer_models`] fills with those of the visitor too."""
    names, hub = list(site.workspace.models()), site.workspace.hub
    info = "Yours, or a Hub id." if hub else None
    return gr.Dropdown(names, value=names[0] if names else None, label="Model", allow_custom_value=hub, info=info)


def offer_models(site: Site, tab: gr.Tab, token: gr.BrowserState, field: gr.Dropdown) -> None:
    """Lists the models of the visitor whenever a tab is opened, and chooses the latest if none was chosen."""

    def update(token: str, chosen: str | None) -> Any:
        names = list(site.workspace.visitor(token).models())
        return gr.update(choices=names, value=chosen or (names[0] if names else None))

    tab.select(update, [token, field], field, api_visibility="private", show_progress="hidden")


def as_problem(message: str) -> str:
    """A message as the page shows it."""
    return f"⚠ {escape(message)}"


def without_folders(message: str, *folders: Path | None) -> str:
    """A message that names files as the visitor knows them."""
    for folder in folders:
        message = message.replace(f"{folder}/", "")
    return message


def pictures(folder: Path, without: str = "") -> list[str]:
    """The plots that a command wrote."""
    return [str(file) for file in sorted(folder.rglob("*.png")) if file.name != without][:_PICTURES]


def write_wild_type(text: str | None, folder: Path) -> str:
    """Writes what was typed as a FASTA file; returns its path in the job.

    Raises:
        InputError: if there is none.
    """
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    if not lines:
        raise InputError("--wild_type: type or paste a sequence")
    if not lines[0].startswith(">"):
        lines = [">wild type", "".join(lines)]
    (folder / "inputs" / "wild_type.fasta").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "inputs/wild_type.fasta"


def _bar(progress: Progress | None) -> str:
    if progress is None:
        return "<progress style='width:100%'></progress>"
    text = f"{html.escape(progress.what)}: {progress.percent} %, {html.escape(progress.left)} left"
    return f"<progress style='width:100%' max='100' value='{progress.percent}'></progress><br>{text}"


def _zipped(job: Job) -> str:
    """What a job wrote, as one file."""
    file = job.folder / f"{job.name}.zip"
    if not file.exists():
        partial = shutil.make_archive(str(job.folder / ".partial"), "zip", job.result)
        Path(partial).replace(file)
    return str(file)
