"""What to measure next."""

import html
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from ...design.acquisition import ACQUISITIONS
from ...errors import InputError
from ..jobs import DONE, Job, as_flags, result_of
from ..workspace import keep
from .job_tab import JobTab, write_wild_type

_WORDS = ("letters", "avoid")


class ProposeTab(JobTab):
    verb, title, action = "propose", "Propose", "Propose a plate"

    def form(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "data": gr.File(label="What was measured: a table for each round", file_count="multiple"),
            "wild_type": gr.Textbox(label="Wild type", lines=4, info="A sequence, or FASTA."),
            "count": gr.Number(96, label="Sequences to choose", precision=0),
            "max_mutations": gr.Textbox(label="Mutations at most", info="Empty: one more than what was measured."),
            "sites": gr.Textbox(label="Sites", info="Every combination of letters there, such as 39,40,41,54."),
            "fixed": gr.Textbox(label="Positions that stay", info="Such as 1-10,57."),
        }
        with gr.Accordion("More", open=False):
            fields |= {
                "letters": gr.Textbox(label="Letters that positions may have", info="Such as 10=AVILM 12=DE."),
                "forbid": gr.Textbox(label="Letters that no candidate has"),
                "avoid": gr.Textbox(label="Motifs to avoid", info="Or restriction enzymes; with spaces between."),
                "acquisition": gr.Dropdown(list(ACQUISITIONS), value="greedy", label="Acquisition"),
                "min_distance": gr.Number(1, label="Least number of differences between two sequences", precision=0),
                "controls": gr.Number(0, label="Wells for controls", precision=0),
                "minimize": gr.Checkbox(label="Smaller values are better"),
            }
        return fields

    def arguments(self, folder: Path, values: dict[str, Any], models: Any) -> list[str]:
        if not values["data"]:
            raise InputError("table: drop a file first")
        for file in values["data"]:
            self.site.limits.check_table(file)
        tables = [keep(file, folder) for file in values.pop("data")]
        flags = values | {name: (values[name] or "").split() for name in _WORDS}
        if flags.pop("wild_type"):
            flags["wild_type"] = write_wild_type(values["wild_type"], folder)
        result = result_of(folder)
        (folder / result).mkdir(parents=True)
        return ["--data", *tables, f"--output={result}/plate.csv", *as_flags(flags)]

    def build_result(self) -> list[Any]:
        self.plate = gr.Dataframe(label="plate.csv", visible=False, interactive=False, elem_id="propose-plate")
        self.report = gr.HTML(visible=False)
        return [self.plate, self.report]

    def show(self, job: Job) -> list[Any]:
        if job.state != DONE:
            return [gr.update(visible=False)] * 2
        page = html.escape((job.result / "plate.html").read_text(encoding="utf-8"))
        frame = f"<iframe sandbox srcdoc='{page}' title='report' style='width:100%;height:900px;border:0'></iframe>"
        plate = pd.read_csv(job.result / "plate.csv")
        return [gr.update(visible=True, value=plate), gr.update(visible=True, value=frame)]
