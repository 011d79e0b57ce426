"""The model card of a trained checkpoint."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..alphabet_lyra import get_alphabet
from ..metrics import METRICS
from ..tasks import TASKS

_TEMPLATE = Path(__file__).with_name("card_template.md")
SCORED_ONCE = "The test split was scored once, with the selected model."
_TESTED_BY_FOLDS = (
    "It learned from all rows and was not tested itself. The scores are of models of the same settings, one for each "
    "fold of the rows, that learned from the other folds and were scored on this one once."
)
# Only notes on how rows were used go into the card; the others are about the columns of the table.
_DATA_NOTE = re.compile(r"(?:split|duplicates): (.*)|(rows: .* where .*)|labels: (of the residues .*|1 above .*)")
_EXAMPLE = 30
# Flags help who ran the command, not who reads the card.
_FLAGS = re.compile(r"; --\w+ [\w ]+|\s*\(--\w+\)")


def model_card(
    record: dict[str, Any],
    name: str,
    architecture: str,
    example: list[str],
    plot: str | None = None,
    reliability_plot: str | None = None,
    test_use: str = SCORED_ONCE,
) -> ModelCard:
    """The card of one training run.

    Args:
        record: what the run wrote to `metrics.json`.
        name: of the model.
        architecture: the class that was saved.
        example: what the tokenizer takes in the usage snippet, a sequence or a pair.
        plot, reliability_plot: paths of pictures beside the card.
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
        test_use=_TESTED_BY_FOLDS if "cross_validation" in record else test_use,
        scope=_scope(record),
        warnings=[escape(warning[0].upper() + warning[1:]) for warning in record.get("warnings", [])],
        metrics=_metrics(record),
        linear_term=_linear_term(record),
        calibration=_calibration(record),
        plot=plot,
        reliability_plot=reliability_plot,
        plot_title=f"Test {title(record['selected_by'])}",
        data_name=code(data["name"]),
        sha256=data["sha256"],
        n=record["n"],
        notes=" ".join(_sentences(data["notes"])),
        auto_class=architecture.replace("Lyra", "AutoModel", 1),
        example=", ".join(map(_written, example)),
        extra_features=_extra_features(record),
        extra_values=", ".join(f"{mean:.4g}" for mean in record.get("extra_features", {}).values()),
        settings=_rows(settings.items()),
    )


def scores_of(record: dict[str, Any]) -> dict[str, float]:
    """The scores that a card's metadata have: of the test split, or of cross-validation the means."""
    scores = record["test"]
    if folds := record.get("cross_validation"):
        scores = {key: each["mean"] for key, each in folds["scores"].items()}
    return {key: value for key, value in scores.items() if key in METRICS}


def score_columns(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Scores by the title of their column, beside those of the linear model where there is one."""
    if folds := record.get("cross_validation"):
        count, columns = len(folds["folds"]), {}
        for of, scores in (("", folds["scores"]), ("linear, ", folds["linear"] or {})):
            columns[f"{of}mean of {count} folds"] = {key: each["mean"] for key, each in scores.items()}
            columns[f"{of}standard deviation"] = {key: each["std"] for key, each in scores.items()}
        return {title: scores for title, scores in columns.items() if scores}
    columns = {"validation": record["validation"], "test": record["test"]}
    if linear := record.get("linear"):
        columns |= {"linear, validation": linear["validation"], "linear, test": linear["test"]}
    return columns


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
            dataset_split="cross-validation" if "cross_validation" in record else "test",
            metric_type=key,
            metric_name=metric_title(key, record),
            metric_value=round(value, 6),
        )
        for key, value in scores_of(record).items()
    ]


def _scope(record: dict[str, Any]) -> str:
    """What the metrics are computed over."""
    residues = record.get("labelled_residues")
    if residues is None:
        return "Every metric is computed over the whole split."
    if not residues["test"]:
        return "Every metric is computed over all labelled residues of a fold."
    return (
        f"Every metric is computed over the labelled residues of the whole split: {residues['validation']:,} for "
        f"validation and {residues['test']:,} for test."
    )


def _metrics(record: dict[str, Any]) -> str:
    """The table of scores, beside those of the linear model where there is one."""
    columns = score_columns(record)
    lines = [f"| metric | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for key in list(columns.values())[1]:
        lines.append(_rows([(metric_title(key, record), *(number(scores.get(key)) for scores in columns.values()))]))
    return "\n".join(lines)


def _linear_term(record: dict[str, Any]) -> str:
    """What the linear term is, and how good it is alone."""
    term, key = record.get("linear_term"), record["selected_by"]
    if term is None:
        return ""
    alone = [
        f"{split} {title(key)} {number(term[split].get(key))}" for split in ("validation", "test") if split in term
    ]
    curve = ", and a curve over it" if term["curve"] else ""
    return (
        f"Beside the network stands a linear term ({term['features']}, prior: {term['prior']}{curve}). Alone it has "
        f"{' and '.join(alone)}; the weight of the network beside it, chosen on validation, is "
        f"{term['network_share']}."
    )


def _calibration(record: dict[str, Any]) -> str:
    """How far a prediction can be trusted."""
    found = record.get("calibration") or {}
    if "coverage" not in found:
        return ""
    spec, level = TASKS[record["task"]], f"{found['level']:.0%}"
    tested = (
        "of the labels of each fold, by the rows of the others" if not record["n"]["test"] else "of the test labels"
    )
    if spec.kind == "regression":
        held = (
            f"{level} intervals, whose width is {found['width']:.2f} standard deviations of the labels on average, hold"
        )
    elif spec.kind == "classification":
        held = f"{level} sets, of {found['size']:.2f} classes on average, hold"
    else:
        held = f"{level} sets, of {found['size']:.2f} of the two values of a label on average, hold"
    rows = ", ".join(map(str, sorted(set(found["rows"]))))
    error = "mean difference of level and coverage" if spec.kind == "regression" else "expected calibration error"
    return (
        f"{held} {found['coverage']:.1%} {tested} (conformal, by {rows} labels that the model did not learn from); "
        f"{error} {found['calibration_error']:.3f}. `lyra predict --interval {found['level']:g}` adds them. They hold "
        "for new sequences that are like those of the table."
    )


def _extra_features(record: dict[str, Any]) -> str:
    """What the model reads beside each sequence."""
    names = ", ".join(map(code, record.get("extra_features", {})))
    return names and f"Beside each sequence it reads {names}, in their own units."


def _selection(record: dict[str, Any]) -> str:
    by = f"Selected by {title(record['selected_by'])} on the validation split"
    if "members" not in record:
        return f"{by} (epoch {record['best_epoch']:g})."
    epochs = ", ".join(f"{member['best_epoch']:g}" for member in record["members"])
    return f"{by} (an ensemble of {len(record['members'])} models, epochs {epochs})."


def example_sequences(alphabet: str, pair_offset: int = 0, length: int | None = None) -> list[str]:
    """What the tokenizer takes: a sequence of 30 random letters, for an alphabet of pairs also a partner of 10 (or, of
    a greater offset, fewer); always the same. Of a model of aligned sequences they are repeated to their length."""
    rng = np.random.default_rng(0)
    letters, length = get_alphabet(alphabet), length or _EXAMPLE
    first, *second = ("".join(rng.choice(list(member.letters), _EXAMPLE)) for member in letters.members)
    first = (first * (1 + length // _EXAMPLE))[:length]
    return [first, *(partner[: max(1, min(10, length - pair_offset))] for partner in second)]


def _written(sequence: str) -> str:
    """An example in Python; of a long one the letters that are repeated."""
    if len(sequence) <= 2 * _EXAMPLE:
        return json.dumps(sequence)
    return f"({json.dumps(sequence[:_EXAMPLE])} * {1 + len(sequence) // _EXAMPLE})[:{len(sequence)}]"


def title(metric: str) -> str:
    """A metric as people write it."""
    return METRICS[metric].title if metric in METRICS else escape(metric)


def metric_title(metric: str, record: dict[str, Any]) -> str:
    """A metric as people write it; that of several outputs is their mean."""
    several = len(record["outputs"]) > 1 and TASKS[record["task"]].kind != "classification"
    return title(metric) + f" (mean over {len(record['outputs'])} outputs)" * (several and metric in METRICS)


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
