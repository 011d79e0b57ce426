"""Train a model on a table."""

import re
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from ...cli.demo import simulate_table
from ...data.arguments import DataArguments
from ...data.preparation import check
from ...data.schemes import SPLIT_SCHEMES
from ...data.tables import read_rows
from ...errors import InputError
from ...files import read_json
from ...hub.card import escape, score_columns
from ...recipes import RECIPES
from ..charts import training_curve
from ..jobs import DONE, Job, as_flags, result_of
from ..workspace import keep
from .job_tab import JobTab, as_problem, pictures, without_folders

_DEMO_ROWS = 1000
_FOUND = "by its name"
_IN_BRACKETS = re.compile(r"\s*\(--[^)]*\)")  # what to write on a command line


class TrainTab(JobTab):
    verb, title, action = "train", "Train", "Train"

    def form(self) -> dict[str, Any]:
        self.table = gr.File(label="Table of sequences and measurements")
        self.demo = gr.Button("Use the example table", size="sm", elem_id="train-demo")
        self.found = gr.Markdown(elem_id="train-found")
        columns: dict[str, Any] = {"allow_custom_value": False, "value": _FOUND}
        fields: dict[str, Any] = {
            "data": self.table,
            "sequence_column": gr.Dropdown([_FOUND], label="Column of sequences", **columns),
            "label_columns": gr.Dropdown([_FOUND], label="Column of measurements", **columns),
            "split": gr.Dropdown(
                ["as in the table, or random", *SPLIT_SCHEMES],
                label="Split",
                value="as in the table, or random",
                info="Which rows are kept for the test.",
            ),
            "recipe": gr.Dropdown(list(RECIPES), value="hybrid", label="Recipe", info="hybrid is the best we know."),
            "num_train_epochs": gr.Textbox(label="Epochs", info="Empty: by the number of rows."),
            "name": gr.Textbox(label="Name", info="Of the new model; empty for a number."),
        }
        chosen = [fields[name] for name in ("data", "sequence_column", "label_columns", "split")]
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        self.demo.click(self._demo_table, self.token, self.table, **quiet)
        self.table.change(self._columns, self.table, chosen[1:3], **quiet).then(self._look, chosen, self.found, **quiet)
        for field in chosen[1:]:
            field.input(self._look, chosen, self.found, **quiet)
        return fields

    def arguments(self, folder: Path, values: dict[str, Any], models: Any) -> list[str]:
        if not values["data"]:
            raise InputError("table: drop a file first, or take the demo landscape")
        self._check(values["data"], values["sequence_column"], values["label_columns"], values["split"])
        epochs = values["num_train_epochs"]
        flags = _flags_of_data(values["sequence_column"], values["label_columns"], values["split"])
        flags |= {"recipe": values["recipe"], "num_train_epochs": epochs}
        return [keep(values["data"], folder), f"--output_dir={result_of(folder)}", *as_flags(flags)]

    def build_result(self) -> list[Any]:
        self.curve = gr.Plot(label="Training", visible=False, elem_id="train-curve")
        self.scores = gr.Dataframe(label="Scores", visible=False, interactive=False, elem_id="train-scores")
        self.gallery = gr.Gallery(label="Plots", visible=False, columns=2, object_fit="contain", height=360)
        self.card = gr.Markdown(visible=False, container=True, elem_id="train-card")
        return [self.curve, self.scores, self.gallery, self.card]

    def seen(self, job: Job) -> Any:
        return sorted(folder.name for folder in job.result.rglob("checkpoint-*"))

    def show(self, job: Job) -> list[Any]:
        hidden = gr.update(visible=False)
        if job.state != DONE:
            figure = training_curve(job.result)
            return [hidden if figure is None else gr.update(value=figure, visible=True), hidden, hidden, hidden]
        columns = score_columns(read_json(job.result / "metrics.json"))
        scores = pd.DataFrame(columns).rename_axis("").reset_index().round(4)
        card = (job.result / "README.md").read_text(encoding="utf-8").split("---", 2)[-1]
        return [
            hidden,
            gr.update(value=scores, visible=True),
            gr.update(value=pictures(job.result / "plots"), visible=True),
            gr.update(value=_without_pictures(card), visible=True),
        ]

    def _demo_table(self, token: str) -> str:
        file = self.site.workspace.visitor(token).scratch(self.verb) / "demo.csv"
        return str(simulate_table(file, 0, saturating=False, rows=_DEMO_ROWS))

    def _columns(self, table: str | None) -> list[Any]:
        """The names of the columns, to choose from."""
        names: list[str] = []
        if table:
            try:
                self.site.limits.check_size(table)
                first = next(iter(read_rows(table)), None)
                names = list(first[1]) if first else []
            except InputError:
                pass  # said by the look at the whole table
        return [gr.update(choices=[_FOUND, *names], value=_FOUND)] * 2

    def _look(self, table: str | None, sequence: str, label: str, split: str) -> str:
        """What is in a table, or its first faulty row."""
        if not table:
            return ""
        folder = Path(table).parent
        try:
            notes = self._check(table, sequence, label, split)
        except InputError as error:
            return as_problem(without_folders(str(error), folder))
        return "\n".join(f"- {escape(_IN_BRACKETS.sub('', without_folders(note, folder)))}" for note in notes)

    def _check(self, table: str, sequence: str, label: str, split: str) -> list[str]:
        """The notes of the command; clusters, which take long to find, are left to it.

        Raises:
            InputError: as the command does, or for a table that is too large.
        """
        self.site.limits.check_table(table)
        flags = _flags_of_data(sequence, label, "random" if split == "cluster" else split)
        return check(DataArguments(table, **flags)).notes  # type: ignore[arg-type]


def _flags_of_data(sequence: str, label: str, split: str) -> dict[str, Any]:
    flags: dict[str, Any] = {}
    if sequence != _FOUND:
        flags["sequence_column"] = sequence
    if label != _FOUND:
        flags["label_columns"] = [label]
    return flags | ({"split": split} if split in SPLIT_SCHEMES else {})


def _without_pictures(card: str) -> str:
    return "\n".join(line for line in card.splitlines() if not line.startswith("!["))
