"""What a model has learned."""

from pathlib import Path
from typing import Any

import gradio as gr

from ...errors import InputError
from ..jobs import DONE, Job, as_flags, result_of
from ..workspace import keep
from .job_tab import JobTab, model_field, pictures


class ExplainTab(JobTab):
    verb, title, action = "explain", "Explain", "Explain"

    def form(self) -> dict[str, Any]:
        return {
            "model": model_field(self.site),
            "data": gr.File(label="Table of sequences, such as the one trained on"),
            "sequences": gr.Number(
                200,
                label="Sequences",
                precision=0,
                info="At most so many, drawn at random.",
            ),
            "method": gr.Radio(["gradients", "mutagenesis"], value="gradients", label="Method"),
        }

    def arguments(self, folder: Path, values: dict[str, Any], models: Any) -> list[str]:
        model = models(values["model"])
        if not values["data"]:
            raise InputError("table: drop a file first")
        self.site.limits.check_table(values["data"])
        flags = {name: values[name] for name in ("sequences", "method")}
        table = keep(values["data"], folder)
        return [str(model), table, f"--output={result_of(folder)}", *as_flags(flags)]

    def build_result(self) -> list[Any]:
        self.gallery = gr.Gallery(label="Plots", visible=False, columns=1, object_fit="contain", height=600)
        return [self.gallery]

    def show(self, job: Job) -> list[Any]:
        done = job.state == DONE
        return [gr.update(visible=done, value=pictures(job.result) if done else None)]
