"""What variants of a wild type do."""

from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from ...errors import InputError
from ...files import read_json
from ...variants.notation import WildType
from ...variants.scanning import read_wild_type, variant_library
from ..charts import heat_map
from ..jobs import DONE, Job, as_flags, result_of
from .job_tab import JobTab, model_field, pictures, write_wild_type

_SHOWN_ROWS = 1000
_MOST_IN_MAP = 50_000
_LEVEL = 0.9
_KINDS = _SINGLES, _PAIRS, _COMBINATIONS = "single changes", "pairs", "combinations at sites"
_LARGEST_MATRIX = 2 << 30  # bytes


class ScanTab(JobTab):
    verb, title, action = "scan", "Scan", "Scan"

    def form(self) -> dict[str, Any]:
        return {
            "model": model_field(self.site),
            "wild_type": gr.Textbox(label="Wild type", lines=4, info="A sequence, or FASTA."),
            "kind": gr.Radio(list(_KINDS), value=_SINGLES, label="Variants"),
            "positions": gr.Textbox(label="Positions", info="Such as 20-60,75; empty for all."),
            "letters": gr.Textbox(label="Letters", info="To change to, such as AVILMF; empty for all."),
            "sites": gr.Textbox(label="Sites", info="Of combinations, such as 39,40,41,54."),
            "offset": gr.Number(0, label="Offset", precision=0, info="Added to positions counted from 1."),
        }

    def arguments(self, folder: Path, values: dict[str, Any], models: Any) -> list[str]:
        model = models(values["model"])
        self.site.limits.check(1, len(values["wild_type"] or ""), "--wild_type")
        wild_type = write_wild_type(values["wild_type"], folder)
        kind = values["kind"]
        library = {
            "positions": values["positions"] or None,
            "letters": values["letters"] or None,
            "pairs": kind == _PAIRS,
            "sites": (values["sites"] or "none") if kind == _COMBINATIONS else None,
        }
        flags = library | {"offset": values["offset"], "interval": _LEVEL if _has_intervals(model) else None}
        alphabet = read_json(model / "tokenizer_config.json")["alphabet"]
        wild = read_wild_type(str(folder / wild_type), alphabet, values["offset"] or 0)
        self._check_count(variant_library(wild, **library).count, wild if kind == _PAIRS else None)
        return [str(model), wild_type, f"--output={result_of(folder)}", *as_flags(flags)]

    def _check_count(self, count: int, pairs_of: WildType | None) -> None:
        if count > self.site.limits.rows:
            raise InputError(f"kind: more than {self.site.limits.rows:,} variants, the most that this page scores")
        matrix = 0 if pairs_of is None else 4 * (len(pairs_of.sequence) * len(pairs_of.alphabet.letters)) ** 2
        if matrix > _LARGEST_MATRIX:
            raise InputError(f"kind: the matrix of all pairs would take {matrix >> 30} GB, more than this page writes")

    def build_result(self) -> list[Any]:
        self.map = gr.Plot(label="Effects of single changes", visible=False, elem_id="scan-map")
        self.gallery = gr.Gallery(label="Plots", visible=False, columns=2, object_fit="contain", height=360)
        self.rows = gr.Dataframe(label="scan.csv, the strongest effects first", visible=False, elem_id="scan-rows")
        return [self.map, self.gallery, self.rows]

    def show(self, job: Job) -> list[Any]:
        if job.state != DONE:
            return [gr.update(visible=False)] * 3
        scan = pd.read_csv(job.result / "scan.csv")
        figure = heat_map(scan) if len(scan) <= _MOST_IN_MAP else None
        effect = next(name for name in scan if name.startswith("effect"))
        strongest = scan.sort_values(effect, key=abs, ascending=False).head(_SHOWN_ROWS)
        return [
            gr.update(visible=figure is not None, value=figure),
            gr.update(visible=True, value=pictures(job.result, without="heat_map.png" if figure else "")),
            gr.update(visible=True, value=strongest),
        ]


def _has_intervals(model: Path) -> bool:
    """Whether a model was calibrated on rows enough for them."""
    scores = (read_json(model / "config.json").get("calibration") or {}).get("scores") or [[]]
    return min(map(len, scores)) >= round(_LEVEL / (1 - _LEVEL))
