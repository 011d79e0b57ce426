"""The model card of a tagger."""

from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .metrics import report

_CARD = """# {name}

Which particle a jet came from: {classes}. A Particle Chebyshev Network ([arXiv 2309.08630](https://arxiv.org/abs/2309.08630))
of {parameters:,} parameters, trained by `{command}`.

```python
from transformers import AutoFeatureExtractor, AutoModelForSequenceClassification

name = "{name}"  # this folder or Hub repository
extractor = AutoFeatureExtractor.from_pretrained(name, trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=True)
inputs = extractor(momenta, kinds, tracks, return_tensors="pt")  # lists of arrays, one of each jet
inputs.pop("cut")
probabilities = model(**inputs).logits.softmax(-1)
```

`momenta` are px, py, pz, E in GeV, `kinds` PDG numbers or flags, `tracks` d0, its error, dz, its error in mm.

## Scores

On the {split} jets ({jets}).{caution}

{report}
A jet counts as right in `accuracy` if its own class has the highest probability. Rejections are by a cut on
p(signal) / (p(signal) + p({background})), with 68 % intervals; `>` is a bound, at 95 %, where fewer than 100 jets pass.

![rejection](plots/rejection.png)

## Data

{files} (SHA-256 over them {sha256}). What the model has learned is how these jets were made,
simulated or selected: on others the scores may differ.
"""


def model_card(record: dict[str, Any], name: str) -> ModelCard:
    """The card of a run, from its record.

    Args:
        name: of the folder or repository.
    """
    split = "test" if "test" in record else "validation"
    scored = record[split]
    results = [
        EvalResult("other", "jets", "jets", metric, value, task_name="Jet classification")
        for metric, value in scored["scores"].items()
    ]
    data = ModelCardData(
        library_name="transformers",
        license="apache-2.0",
        tags=["jet-tagging", "physics", "pcn"],
        model_name=name,
        eval_results=results,
    )
    text = _CARD.format(
        name=name,
        classes=", ".join(record["classes"]),
        parameters=record["parameters"],
        command=record["command"],
        split=split,
        jets=", ".join(f"{number:,} {label}" for label, number in scored["jets"].items()),
        caution="" if split == "test" else " They selected the epoch, so that scores on new jets are lower.",
        report=report(scored),
        background=scored["background"],
        files=", ".join(record["data"]["files"]),
        sha256=record["data"]["sha256"],
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")
