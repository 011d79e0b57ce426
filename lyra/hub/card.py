"""The model card of a trained checkpoint."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..alphabet_lyra import PairAlphabet, get_alphabet
from ..metrics import METRICS
from ..tasks import TASKS

_TEMPLATE = Path(__file__).with_name("card_template.md")
SCORED_ONCE = "The test split was scored once, with the selected model."
# Only notes on how rows were used go into the card; the others are about the columns of the table.
_DATA_NOTE = re.compile(r"(?:split|duplicates): (.*)|(rows: .* where .*)|labels: (of the residues .*|1 above .*)")
# Flags help who ran the command, not who reads the card.
_FLAGS = re.compile(r"; --\w+ [\w ]+|\s*\(--\w+\)")


def model_card(
    record: dict[str, Any],
    name: str,
    architecture: str,
    example: str,
    plot: str | None = None,
    test_use: str = SCORED_ONCE,
) -> ModelCard:
    """The card of one training run.

    Args:
        record: what the run wrote to `metrics.json`.
        name: of the model.
        architecture: the class that was saved.
        example: a sequence for the usage snippet.
        plot: path of a picture beside the card.
        test_use: a sentence on how often the test split was scored.
    """
    spec = TASKS[record["task"]]
    data = record["data"]
    card_data = ModelCardData(
        library_name="transformers",
        pipeline_tag=spec.pipeline_tag,
        tags=["lyra", "biology", record["alphabet"], record["task"].replace("_", "-")],
        datasets=[data["hub_id"]] if data["hub_id"] else None,
        model_name=name,
        eval_results=_results(record),
    )
    settings = {k: v for k, v in record["hyperparameters"].items() if v not in (None, "")}
    settings |= {"seconds": record["seconds"]} | record["versions"]
    return ModelCard.from_template(
        card_data,
        template_path=str(_TEMPLATE),
        title=escape(name),
        name=json.dumps(name),
        parameters=f"{record['parameters']:,}",
        wording=spec.wording,
        alphabet=code(record["alphabet"]),
        outputs_name="Classes" if spec.kind == "classification" else "Outputs",
        outputs=", ".join(map(code, record["outputs"])),
        selection=_selection(record),
        test_use=test_use,
        metrics=_rows(
            (title(key), number(record["validation"].get(key)), number(v)) for key, v in record["test"].items()
        ),
        plot=plot,
        plot_title=f"Test {title(record['selected_by'])}",
        data_name=code(data["name"]),
        sha256=data["sha256"],
        n=record["n"],
        notes=" ".join(_sentences(data["notes"])),
        auto_class=architecture.replace("Lyra", "AutoModel", 1),
        example=json.dumps(example),
        settings=_rows(settings.items()),
    )


def scores_of(record: dict[str, Any]) -> dict[str, float]:
    """The test scores that a card's metadata have."""
    return {key: value for key, value in record["test"].items() if key in METRICS}


def _sentences(notes: list[str]) -> Iterator[str]:
    for note in notes:
        if match := _DATA_NOTE.fullmatch(note):
            text = _FLAGS.sub("", next(filter(None, match.groups())))
            yield escape(text[0].upper() + text[1:]) + "."


def _results(record: dict[str, Any]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type=TASKS[record["task"]].pipeline_tag,
            dataset_type=record["data"]["hub_id"] or "custom",
            dataset_name=record["data"]["name"],
            dataset_split="test",
            metric_type=key,
            metric_name=METRICS[key].title,
            metric_value=round(value, 6),
        )
        for key, value in scores_of(record).items()
    ]


def _selection(record: dict[str, Any]) -> str:
    by = f"Selected by {title(record['selected_by'])} on the validation split"
    if "members" not in record:
        return f"{by} (epoch {record['best_epoch']:g})."
    epochs = ", ".join(f"{member['best_epoch']:g}" for member in record["members"])
    return f"{by} (an ensemble of {len(record['members'])} models, epochs {epochs})."


def example_sequence(alphabet: str, pair_offset: int = 0) -> str:
    """A sequence of 30 random letters, for an alphabet of pairs aligned with a partner of 10; always the same."""
    rng = np.random.default_rng(0)
    letters = get_alphabet(alphabet)
    first, *second = ("".join(rng.choice(list(member.letters), 30)) for member in letters.members)
    return letters.align(first, second[0][:10], pair_offset) if isinstance(letters, PairAlphabet) else first


def title(metric: str) -> str:
    """A metric as people write it."""
    return METRICS[metric].title if metric in METRICS else escape(metric)


def number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _rows(rows: Any) -> str:
    """Rows of a table in Markdown."""
    return "\n".join(f"| {' | '.join(map(escape, row))} |" for row in rows)


def escape(value: Any) -> str:
    """Text that stays text in a line or a cell of Markdown: what would start a span, a link, HTML or a cell."""
    text = re.sub(r"([\\`*\[\]<|~$]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(str(value).split()))
    return re.sub(r"^([#+>-])", r"\\\1", text)


def code(value: Any) -> str:
    """Text in a code span, also in a cell of a table."""
    return f"`{' '.join(str(value).split())}`".replace("|", "\\|") if "`" not in str(value) else escape(value)
