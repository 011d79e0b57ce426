"""What a model says of sequences, at once."""

from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from ...errors import InputError
from ...inference.prediction import predict_table
from ..jobs import run
from ..site import Site
from .job_tab import as_problem, model_field, offer_models, point_at, with_info, without_folders

_SHOWN_ROWS = 1000
_LONGEST_PASTED = 1_000_000  # characters; all others wait until they are read
_PASTED = "pasted"  # the file for them, without its suffix
_LEVELS = ["none", "0.8", "0.9", "0.95"]  # probabilities that a measurement is inside


class PredictTab:
    verb, title = "predict", "Predict"

    def __init__(self, site: Site, token: gr.BrowserState):
        self.site = site
        with gr.Tab(self.title, id=self.verb) as self.tab, gr.Row():
            with gr.Column(scale=2, min_width=320):
                self.model = model_field(site)
                self.model.elem_id = f"{self.verb}-model"
                self.pasted = gr.Textbox(
                    label="Sequences", lines=8, info="One a line, or FASTA.", elem_id="predict-sequences"
                )
                self.table = gr.File(label="or a table", elem_id="predict-table")
                self.interval = gr.Dropdown(_LEVELS, value="none", label="Intervals")
                self.start = gr.Button("Predict", variant="primary", elem_id="predict-start")
                self.problem = gr.Markdown(elem_id="predict-problem", elem_classes="problem")
            with gr.Column(scale=3, min_width=320):
                self.rows = gr.Dataframe(label="Predictions", visible=False, interactive=False, elem_id="predict-rows")
                self.download = gr.DownloadButton("Download (csv)", visible=False, elem_id="predict-download")
        asked = [token, self.model, self.pasted, self.table, self.interval]
        self.fields = {"model": self.model, _PASTED: self.pasted}
        shown = [self.problem, self.rows, self.download, *with_info(self.fields)]
        # One after the other: models that share the cores slow each other down many times.
        self.start.click(self._predict, asked, shown, concurrency_limit=1, api_name="predict")
        offer_models(site, self.tab, token, self.model)

    def _predict(self, token: str, model: str | None, pasted: str, table: str | None, interval: str) -> list[Any]:
        folder = None
        try:
            visitor = self.site.workspace.visitor(token)
            path, folder = visitor.model(model), visitor.scratch(self.verb)
            output = str(folder / "predictions.csv")
            level = None if interval == "none" else float(interval)
            self._write_predictions(path, table, pasted, folder, output, level)
        except InputError as error:
            message = without_folders(str(error), folder, Path(table).parent if table else None)
            named = _PASTED if message.startswith(_PASTED) and not table else ""
            return [as_problem(message), gr.skip(), gr.skip(), *point_at(self.fields, message, named)]
        rows = pd.read_csv(output, nrows=_SHOWN_ROWS)
        shown = [gr.update(value=rows, visible=True), gr.update(value=output, visible=True)]
        return ["", *shown, *point_at(self.fields, "")]

    def _write_predictions(
        self, model: Path, table: str | None, pasted: str, folder: Path, output: str, level: float | None
    ) -> None:
        """What was pasted is short enough to do here, with a model that is loaded; a table has a limit of time."""
        source = table or _write(pasted, folder)
        self.site.limits.check_table(source)
        if table is None:
            predict_table(*self.site.model(model), source, output, interval=level)
        else:
            interval = [] if level is None else ["--interval", str(level)]
            run(folder, self.verb, [str(model), table, "-o", output, *interval], 60 * self.site.limits.minutes)


def _write(pasted: str, folder: Path) -> str:
    """What was pasted, as a table in a folder.

    Raises:
        InputError: if there is nothing.
    """
    lines = [line.strip() for line in pasted.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{_PASTED}: expected sequences here, or a table below")
    if len(pasted) > _LONGEST_PASTED:
        raise InputError(f"{_PASTED}: {len(pasted):,} characters, {_LONGEST_PASTED:,} at most; drop a table instead")
    is_fasta = lines[0].startswith(">")
    file = folder / f"{_PASTED}.{'fasta' if is_fasta else 'csv'}"
    file.write_text("\n".join(lines if is_fasta else ["sequence", *lines]) + "\n", encoding="utf-8")
    return str(file)
