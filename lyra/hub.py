"""The model card of a trained checkpoint: valid Hub metadata and the numbers of the run."""

from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

# Spelled as on the Hub's leaderboards.
_METRIC_NAMES = {
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
    "r2": "R2",
    "rmse": "RMSE",
    "mae": "MAE",
    "accuracy": "Accuracy",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}


def model_card(record: dict[str, Any], name: str, architecture: str, example: str) -> ModelCard:
    """The card of one training run.

    Args:
        record: what the run wrote to `metrics.json`.
        name: of the model.
        architecture: the class that was saved.
        example: a sequence for the usage snippet.
    """
    per_token = record["task"].startswith("token_")
    pipeline = "token-classification" if per_token else "text-classification"
    results = [
        EvalResult(
            task_type=pipeline,
            dataset_type=record["data"]["hub_id"] or "custom",
            dataset_name=record["data"]["name"],
            dataset_split="test",
            metric_type=key,
            metric_name=_METRIC_NAMES.get(key, key),
            metric_value=round(value, 6),
        )
        for key, value in record["test"].items()
        if key in _METRIC_NAMES
    ]
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag=pipeline,
        tags=["lyra", "biology", record["alphabet"], record["task"].replace("_", "-")],
        datasets=[record["data"]["hub_id"]] if record["data"]["hub_id"] else None,
        model_name=name,
        eval_results=results,
    )
    return ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{_body(record, name, architecture, example)}")


def _body(record: dict[str, Any], name: str, architecture: str, example: str) -> str:
    auto_class = architecture.replace("Lyra", "AutoModel", 1)
    data, counts = record["data"], record["n"]
    outputs = ", ".join(f"`{_plain(output)}`" for output in record["outputs"])
    lines = [
        f"# {_plain(name)}",
        "",
        f"A [Lyra](https://arxiv.org/abs/2503.16351) model with {record['parameters']:,} parameters for the task "
        f"*{record['task'].replace('_', ' ')}* on {record['alphabet']} sequences. Outputs: {outputs}.",
        "",
        "## Results",
        "",
        f"Selected by `{record['selected_by']}` on the validation split ({_epochs(record)}); the test "
        "split was scored once, with the selected model. Every metric is computed over the whole split.",
        "",
        "| metric | validation | test |",
        "|---|---|---|",
        *(
            f"| {_plain(_METRIC_NAMES.get(key, key))} | {_number(record['validation'].get(key))} | {_number(value)} |"
            for key, value in record["test"].items()
        ),
        "",
        "## Data",
        "",
        f"`{_plain(data['name'])}`, SHA-256 `{data['sha256']}`: {counts['train']} training, {counts['validation']} "
        f"validation and {counts['test']} test sequences.",
        "",
        *(f"- {_plain(note)}" for note in data["notes"]),
        "",
        "## Use",
        "",
        "```python",
        "import torch",
        f"from transformers import {auto_class}, AutoTokenizer",
        "",
        f'name = "{_plain(name)}"  # this folder or Hub repository',
        "tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=True)",
        f"model = {auto_class}.from_pretrained(name, trust_remote_code=True).eval()",
        "with torch.no_grad():",
        f'    print(model(**tokenizer("{example}", return_tensors="pt")).logits)',
        "```",
        "",
        "The code beside the weights needs only torch and transformers.",
        "",
        "## Training",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {_plain(k)} | {_plain(v)} |" for k, v in record["hyperparameters"].items() if v not in (None, "")),
        f"| seconds | {record['seconds']} |",
        *(f"| {_plain(key)} | {_plain(value)} |" for key, value in record["versions"].items()),
        "",
    ]
    return "\n".join(lines)


def _epochs(record: dict[str, Any]) -> str:
    if "members" not in record:
        return f"epoch {record['best_epoch']:g}"
    epochs = ", ".join(f"{member['best_epoch']:g}" for member in record["members"])
    return f"an ensemble of {len(record['members'])} models, epochs {epochs}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _plain(value: Any) -> str:
    """Text that stays text inside a Markdown line, cell or code span."""
    return str(value).replace("\n", " ").replace("|", "\\|").replace("`", "'").replace("<", "&lt;").replace('"', "'")
