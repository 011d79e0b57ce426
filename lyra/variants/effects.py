"""What variants do: predictions beside the wild type's, effects, and epistasis, the deviation from what adds up."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..configuration_lyra import LyraConfig
from ..data.rows import Row
from ..errors import InputError
from ..inference.logits import Predictions, to_values
from ..inference.outputs import added_columns, kind_of, prediction_columns
from ..modeling_lyra import LyraClassificationModel
from ..tokenization_lyra import LyraTokenizer
from .notation import Edit, Variant, WildType
from .scoring import Scores, score

# By the name that `--effect` takes: from the value of a variant and that of the wild type.
EFFECTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "difference": lambda value, wild: value - wild,
    "ratio": lambda value, wild: value / wild,
    "log2": lambda value, wild: np.log2(value / wild),
}
NEUTRAL = {"difference": 0.0, "ratio": 1.0, "log2": 0.0}


def check_effect(name: str) -> None:
    """Raises InputError for one that is none of `EFFECTS`."""
    if name not in EFFECTS:
        raise InputError(f"--effect: expected one of {', '.join(EFFECTS)}, got {name!r}")


class ReadOut:
    """The values of a model that effects are of: those of a regression, or probabilities; of two classes the second's.

    Attributes:
        ends: of the names of columns, `""` for one value, else `"_<name>"` of each.
    """

    def __init__(self, config: LyraConfig):
        names = [str(config.id2label[i]) for i in range(config.num_labels)]
        self.kind = kind_of(config)
        self.outputs = np.arange(config.num_labels)[1 if self.kind == "classification" and len(names) == 2 else 0 :]
        self.ends = [""] if len(self.outputs) == 1 else [f"_{names[i]}" for i in self.outputs]

    def values(self, logits: np.ndarray) -> np.ndarray:
        """`(n, labels)` to `(n, values)`."""
        return to_values(self.kind, logits.astype(float))[:, self.outputs]


class Effects:
    """The columns that a scan adds to each variant.

    `prediction` and its kin are those of [`prediction_columns`], with `prediction_sd` for the deviation of an
    ensemble. `effect` compares with the wild type, of classes the probability of each but the first of two. With
    `epistasis` there is also what a variant with several edits has beyond the sum of the effects of each of them, in
    label units, and `latent_epistasis` where the model adds up on another scale than that of the labels.

    Args:
        model: of whole single sequences, in evaluation mode.
        effect: a key of `EFFECTS`.
        epistasis: whether variants have several edits.
        interval: level, such as 0.9, of intervals or sets that are added.

    Raises:
        InputError: for another effect, a model without intervals, or if the wild type's value allows no ratio.
    """

    def __init__(
        self,
        model: LyraClassificationModel,
        tokenizer: LyraTokenizer,
        wild_type: WildType,
        effect: str = "difference",
        epistasis: bool = False,
        interval: float | None = None,
    ):
        check_effect(effect)
        added_columns(model.config, per_token=False, level=interval)  # or the model has none
        self.model, self.tokenizer, self.wild_type = model, tokenizer, wild_type
        self.effect, self.epistasis, self.interval = effect, epistasis, interval
        config = model.config
        self._read_out = ReadOut(config)
        self._outputs, self._ends = self._read_out.outputs, self._read_out.ends
        self.has_latents = self._read_out.kind != "regression" or bool(
            config.global_epistasis or config.label_quantiles
        )
        scores = self._score([()])
        self.wild_value, self._wild_latent = self._values(scores)[0], scores.latents[0, self._outputs]
        if effect != "difference" and not (self.wild_value > 0).all():
            value = ", ".join(f"{value:.4g}" for value in self.wild_value)
            raise InputError(f"--effect {effect}: needs positive predictions, that of the wild type is {value}")
        self._singles: dict[Edit, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def columns(self) -> list[str]:
        """The names of the effects of each output."""
        return [f"effect{end}" for end in self._ends]

    def __call__(self, variants: Sequence[Variant]) -> list[Row]:
        """The columns of each variant.

        Raises:
            InputError: if a prediction allows no ratio.
        """
        scores = self._score(variants)
        values, latents = self._values(scores), scores.latents[:, self._outputs]
        if self.effect != "difference" and not (values > 0).all():
            worst = int(np.argmin(values.min(axis=1)))
            found = f"that of {self.wild_type.format(variants[worst])} is {values[worst].min():.4g}"
            raise InputError(f"--effect {self.effect}: needs positive predictions, {found}")
        added: dict[str, Any] = dict(zip(self.columns, EFFECTS[self.effect](values, self.wild_value).T, strict=True))
        if self.epistasis:
            of_values, of_latents = self._deviations(variants, values, latents)
            added |= {f"epistasis{end}": column for end, column in zip(self._ends, of_values.T, strict=True)}
            if self.has_latents:
                added |= {f"latent_epistasis{end}": c for end, c in zip(self._ends, of_latents.T, strict=True)}
        predictions = Predictions(scores.logits, scores.stds)
        rows = prediction_columns(predictions, self.model.config, per_token=False, level=self.interval)
        return [
            {name.replace("std", "prediction_sd", 1) if name.startswith("std") else name: v for name, v in row.items()}
            | {name: np.float32(column[i]) for name, column in added.items()}
            for i, row in enumerate(rows)
        ]

    def _score(self, variants: Sequence[Variant]) -> Scores:
        return score(self.model, self.tokenizer, [self.wild_type.apply(variant) for variant in variants])

    def _values(self, scores: Scores) -> np.ndarray:
        return self._read_out.values(scores.logits)

    def _deviations(
        self, variants: Sequence[Variant], values: np.ndarray, latents: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is beyond the sum of single effects, of values and of latent sums; 0 for a single edit."""
        self._score_singles({edit for variant in variants if len(variant) > 1 for edit in variant})
        of_values, of_latents = np.zeros_like(values), np.zeros_like(latents)
        for row, variant in enumerate(variants):
            if len(variant) > 1:
                singles = [self._singles[edit] for edit in variant]
                of_values[row] = values[row] - self.wild_value - sum(value for value, _ in singles)
                of_latents[row] = latents[row] - self._wild_latent - sum(latent for _, latent in singles)
        return of_values, of_latents

    def _score_singles(self, edits: set[Edit]) -> None:
        """Remembers the effects of single edits."""
        new = sorted(edits - self._singles.keys())
        if new:
            scores = self._score([(edit,) for edit in new])
            values = self._values(scores) - self.wild_value
            latents = scores.latents[:, self._outputs] - self._wild_latent
            self._singles |= dict(zip(new, zip(values, latents, strict=True), strict=True))
