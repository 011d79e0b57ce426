"""The linear term of a new model.

Cross-validation within the training rows chooses its features, the prior, the penalty and whether a curve helps. The
network is trained by itself, under the same curve, and validation rows decide the shares of both in the sum. Training
the network on what the term leaves was tried and is worse where effects interact: without the low-order effects it does
not find the high-order ones (on splice sites it learned nothing at all).
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy import optimize, sparse, special

from ..data.preparation import Prepared
from ..inference.logits import map_batches, to_items
from ..losses_lyra import head_losses, reduce_losses, to_label_units, to_training_scale
from ..metrics import METRICS, greater_is_better
from ..modeling_lyra import LyraClassificationModel
from ..scoring import compute_metrics
from .curve import Curved, fit_curve
from .features import beside, possible_features, standardised
from .priors import WithNumbers, possible_priors
from .ridge import PENALTIES, LinearModels, Prior, fit_ridge, folds_of, mean_variance

_SEED = 0  # the members of an ensemble have one term
_MOST_ROWS = 10_000  # to choose by
_MOST_ENTRIES = 1 << 25  # of the features of the rows that the chosen term is fitted to; 400 MB
_FEWEST_FOR_CURVE = 200
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
_STRONGER = (1.0, 3.0)  # penalties under a curve, over that of the plain term


@dataclass
class Choice:
    """What cross-validation chose.

    Attributes:
        features, prior, penalty: of the ridge.
        X, targets: of the rows that it was chosen by.
        prior_name: of the prior, for the record.
        score: what it was chosen by; greater is better.
        curve: of `CURVES`, the kind that may help.
    """

    features: Any
    X: sparse.csr_matrix
    targets: np.ndarray
    prior: Prior
    prior_name: str
    penalty: float
    score: float
    curve: str


@dataclass
class LinearTerm:
    """A fitted linear term.

    Attributes:
        fields: of [`LyraConfig`].
        weights, intercepts: `(features, outputs)` and `(outputs,)`, as the model has them.
        extra: weights of the numbers beside each sequence, `(numbers, outputs)`; none where there are none.
        curves: the parameters of the model's curve by name, `(outputs, ...)` each, or None.
        chosen: for the record.
    """

    fields: dict[str, Any]
    weights: np.ndarray
    intercepts: np.ndarray
    extra: np.ndarray
    curves: dict[str, np.ndarray] | None
    chosen: dict[str, Any]

    @torch.no_grad()
    def prepare(self, model: LyraClassificationModel) -> None:
        """Makes a new model ready to train its network by itself, under the curve of the term."""
        assert model.linear_term is not None
        model.linear_term.requires_grad_(False)
        if model.curve is not None and self.curves is not None:
            model.curve.requires_grad_(False)
            for name, values in self.curves.items():
                model.curve.get_parameter(name).copy_(torch.from_numpy(values))

    def join(self, model: LyraClassificationModel, data: Prepared) -> dict[str, Any]:
        """Puts the term beside the trained network, each with the share by which the validation loss is the lowest. A
        correlation would not do: it is the same beside a network that says nothing, which shrinks all predictions.

        Returns:
            For the record: the share of the network, and the scores of the term alone.
        """
        share = best_share(self.losses(model, data))
        latents = {split: self._latent(model, data, split) for split in data.scored}
        alone = {split: _scores(data, split, _outputs(model, latent)) for split, latent in latents.items()}
        self.share_out(model, share)
        return self.chosen | {"network_share": share} | alone

    def losses(self, model: LyraClassificationModel, data: Prepared) -> np.ndarray:
        """The validation loss with each of `_SHARES` for the trained network, and the rest for the term."""
        network, term = _of_network(model, data, "validation"), self._latent(model, data, "validation")
        return np.array([_loss(model, data, share * network + (1 - share) * term) for share in _SHARES])

    def _latent(self, model: LyraClassificationModel, data: Prepared, split: str) -> torch.Tensor:
        """What the term alone says of a split, `(rows, outputs)`, before the curve."""
        assert model.linear_term is not None
        with torch.no_grad():
            model.linear_term.weight.copy_(torch.from_numpy(self.weights))
        latent = _of_term(model, data, split) + torch.from_numpy(self.intercepts).float()
        if data.extra_columns:
            latent = latent + torch.from_numpy(standardised(data, split) @ self.extra).float()
        return latent

    @torch.no_grad()
    def share_out(self, model: LyraClassificationModel, share: float) -> None:
        """Gives the network that was trained a share of the sum, and the term the rest."""
        assert model.linear_term is not None
        model.linear_term.weight.copy_((1 - share) * torch.from_numpy(self.weights))
        if model.extra_term is not None:
            weight = model.extra_term.weight
            weight.mul_(share).add_((1 - share) * torch.from_numpy(self.extra).to(weight))
        _, bias = parameters = list(model.classifier.parameters())
        for parameter in parameters:
            parameter.mul_(share)
        bias.add_((1 - share) * torch.from_numpy(self.intercepts).to(bias))

    def describe(self) -> str:
        """One line for the screen."""
        chosen = self.chosen
        curve = {"free": ", with a curve", "monotone": ", with a curve that only rises"}.get(chosen["curve"], "")
        return (
            f"{chosen['features']}, prior {chosen['prior']}, penalty {chosen['penalty']:.2g}{curve}; "
            f"fitted to {chosen['rows']} rows"
        )


def best_share(losses: np.ndarray) -> float:
    """That of `_SHARES` with the lowest loss; none for a network that diverged."""
    return _SHARES[int(np.nanargmin(losses))] if np.isfinite(losses).any() else 0.0


def _of_network(model: LyraClassificationModel, data: Prepared, split: str) -> torch.Tensor:
    """What the network says of each sequence and the numbers beside it, `(rows, outputs)`, before the curve."""
    if model.extra_term is None:
        return _latent(lambda ids: model.classifier(model.lyra(ids).pooler_output), model, data, split)
    with torch.no_grad():
        extra = model.extra_term(torch.from_numpy(data.extra[split]).to(model.device)).cpu()
    return extra + _latent(lambda ids: model.classifier(model.lyra(ids).pooler_output), model, data, split)


def _of_term(model: LyraClassificationModel, data: Prepared, split: str) -> torch.Tensor:
    """What the linear term says of each sequence, without its intercept."""
    term, pad = model.linear_term, data.tokenizer.pad_token_id
    return _latent(lambda ids: term(ids, ids != pad), model, data, split)  # type: ignore[misc]


def _latent(
    function: Callable[[torch.Tensor], torch.Tensor], model: LyraClassificationModel, data: Prepared, split: str
) -> torch.Tensor:
    found = map_batches(function, model, data.token_ids(split), per_token=False)
    return torch.from_numpy(to_items(found))


@torch.no_grad()
def _outputs(model: LyraClassificationModel, latent: torch.Tensor) -> np.ndarray:
    """The logits in label units, from latent values."""
    return to_label_units(_curved(model, latent), model.config).numpy()


@torch.no_grad()
def _loss(model: LyraClassificationModel, data: Prepared, latent: torch.Tensor) -> float:
    """Of latent values, on validation."""
    labels = torch.from_numpy(data.label_array("validation"))
    losses, present = head_losses(_curved(model, latent), labels, model.config, per_token=False)
    return float(reduce_losses(losses, present, None))


def _curved(model: LyraClassificationModel, latent: torch.Tensor) -> torch.Tensor:
    return latent if model.curve is None else model.curve(latent.to(model.device)).cpu()


def _scores(data: Prepared, split: str, logits: np.ndarray) -> dict[str, float]:
    return compute_metrics(data.task.kind, logits, data.label_array(split), data.task.names)


def fit_linear_term(
    data: Prepared, metric: str, wanted: str, curve: str, fields: dict[str, Any], both_strands: bool = False
) -> LinearTerm | None:
    """Chooses and fits the term by the training rows; None where there is nothing to learn.

    Args:
        metric: of the task, or `"loss"`.
        wanted: a key of `LINEAR_TERMS`, or `"auto"`.
        curve: `"monotone"`, `"none"`, or `"auto"` for one of any form; it is left out where it does not help, or
            rows are fewer than 200.
        fields: of the config, that follow from the labels.
        both_strands: whether the model averages both strands of DNA.
    """
    metric = data.task.spec.selected_by if metric == "loss" else metric
    labels = data.label_values("train")
    order = np.random.default_rng(_SEED).permutation(len(labels))
    rows = order[:_MOST_ROWS]
    fold = _folds(data, rows)
    if fold.max() == 0:
        return None
    targets, numbers = _targets(data, labels[rows], fields), standardised(data, "train")
    score = _scorer(data, metric, labels[rows], targets, fields)
    kind = "free" if curve == "auto" else curve
    best: Choice | None = None
    for features in possible_features(data, both_strands):
        if wanted not in ("auto", features.name):
            continue
        X = features.matrix(data.token_ids("train", rows))
        if not X.nnz:
            continue
        priors = possible_priors(data.tokenizer.alphabet, features)
        if numbers.shape[1]:
            priors = {name: _with_numbers(prior, X, numbers.shape[1]) for name, prior in priors.items()}
            X = beside(X, numbers[rows])
        for name, prior in priors.items():
            predictions = _cross_fit(X, targets, fold, prior, PENALTIES)
            scores = np.nan_to_num([score(each) for each in predictions], nan=-np.inf)
            index = int(np.argmax(scores))
            if best is None or scores[index] > best.score:
                best = Choice(features, X, targets, prior, name, PENALTIES[index], scores[index], kind)
    if best is None:
        return None
    curve_penalty = None
    if data.task.kind == "regression" and curve != "none" and len(rows) >= _FEWEST_FOR_CURVE:
        curve_penalty = _choose_curve(best, fold, score)
    affordable = max(len(rows), _MOST_ENTRIES * len(rows) // best.X.nnz)
    return _fit(data, best, curve_penalty, fields, np.sort(order[:affordable]))


def _with_numbers(prior: Prior, X: sparse.csr_matrix, count: int) -> Prior:
    """A prior by which each number may explain as much as all letters `X` do."""
    return WithNumbers(prior, count, mean_variance(X, np.asarray(X.mean(axis=0)).ravel(), prior))


def _fit(
    data: Prepared,
    best: Choice,
    curve_penalty: float | None,
    fields: dict[str, Any],
    rows: np.ndarray,
) -> LinearTerm:
    """The chosen term, fitted to these training rows."""
    labels, numbers = data.label_values("train")[rows], standardised(data, "train")[rows]
    X, targets = beside(best.features.matrix(data.token_ids("train", rows)), numbers), _targets(data, labels, fields)
    ridge = fit_ridge(X, targets, best.prior, (best.penalty,))
    weights, intercepts, curves = ridge.weights[0], ridge.intercepts[0], None
    if curve_penalty is not None:
        bent = _fit_curves(X, targets, ridge, best, curve_penalty)
        weights = np.stack([each.weights for each in bent], axis=1)
        intercepts = np.array([each.intercept for each in bent])
        curves = {name: np.stack([each.curve[name] for each in bent]) for name in bent[0].curve}
    if data.task.kind != "regression":
        fold = _folds(data, rows)
        (held_out,) = _cross_fit(X, targets, fold, best.prior, (best.penalty,))
        slopes, shifts = _calibrate(held_out, labels, data.task.kind, fields.get("class_weights"))
        weights, intercepts = weights * slopes, intercepts * slopes + shifts
    weights, extra = np.split(weights, [len(weights) - numbers.shape[1]])
    return LinearTerm(
        fields=best.features.fields | {"global_epistasis": None if curves is None else best.curve},
        weights=weights,
        intercepts=intercepts - best.features.offset @ weights,  # the model's features are not less a reference
        extra=extra,
        curves=curves,
        chosen={
            "features": best.features.name,
            "prior": best.prior_name,
            "penalty": round(best.penalty, 8),
            "rows": len(rows),
            "curve": None if curves is None else best.curve,
            "cross_validation": round(float(best.score), 4) if np.isfinite(best.score) else None,
        },
    )


# ── Cross-validation ─────────────────────────────────────────────────────────────────────────────────────────────────


def _folds(data: Prepared, rows: np.ndarray) -> np.ndarray:
    """A fold for each of some training rows; what test rows do not share with training rows, folds do not share."""
    sequences = data.sequences["train"]
    units = data.units or sequences
    return folds_of([units[i] or sequences[i] for i in rows], _SEED)


def _cross_fit(
    X: sparse.csr_matrix, targets: np.ndarray, fold: np.ndarray, prior: Prior, penalties: tuple[float, ...]
) -> np.ndarray:
    """What fits without a row say of it, `(penalties, rows, outputs)`."""
    predictions = np.empty((len(penalties), *targets.shape))
    for held_out in np.unique(fold):
        rows = fold == held_out
        predictions[:, rows] = fit_ridge(X[~rows], targets[~rows], prior, penalties).predict(X[rows])
    return predictions


def _choose_curve(best: Choice, fold: np.ndarray, score: Callable[[np.ndarray], float]) -> float | None:
    """The penalty under a curve if that scores better than none."""
    X, targets, found = best.X, best.targets, None
    penalties = [best.penalty * stronger for stronger in _STRONGER]
    predictions = np.empty((len(penalties), *targets.shape))
    for held_out in np.unique(fold):
        rows = fold == held_out
        ridge = fit_ridge(X[~rows], targets[~rows], best.prior, (best.penalty,))
        for index, penalty in enumerate(penalties):
            bent = _fit_curves(X[~rows], targets[~rows], ridge, best, penalty)
            predictions[index, rows] = np.stack([each.predict(X[rows]) for each in bent], axis=1)
    for penalty, value in zip(penalties, map(score, predictions), strict=True):
        if value > best.score:
            found, best.score = penalty, value
    return found


def _fit_curves(
    X: sparse.csr_matrix, targets: np.ndarray, ridge: LinearModels, best: Choice, penalty: float
) -> list[Curved]:
    """A term with a curve for each output, from the plain one of the same rows."""
    found = []
    for output, target in enumerate(targets.T):
        present, start = ~np.isnan(target), (ridge.causes[0, :, output], ridge.intercepts[0, output])
        part = X if present.all() else X[present]
        found.append(fit_curve(part, target[present], best.prior, penalty, *start, best.curve == "monotone"))
    return found


# ── Labels ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _targets(data: Prepared, labels: np.ndarray, fields: dict[str, Any]) -> np.ndarray:
    """Labels `(rows, outputs)` on the scale of training, NaN where missing; of classes 0 and 1 for each."""
    if data.task.kind == "classification":
        return np.where(np.isnan(labels), np.nan, labels == np.arange(len(data.task.names)))
    if data.task.kind == "multilabel":
        return labels
    scaled = to_training_scale(torch.from_numpy(np.nan_to_num(labels)), _scale(fields)).numpy()
    return np.where(np.isnan(labels), np.nan, scaled)


def _scale(fields: dict[str, Any]) -> Any:
    names = ("label_mean", "label_std", "label_quantiles")
    return SimpleNamespace(problem_type="regression", **{name: fields.get(name) for name in names})


def _scorer(
    data: Prepared, metric: str, labels: np.ndarray, targets: np.ndarray, fields: dict[str, Any]
) -> Callable[[np.ndarray], float]:
    """How good predictions `(rows, outputs)` on the scale of training are; greater is better. Of classes by the square
    error, which needs no threshold."""

    def score(predictions: np.ndarray) -> float:
        if data.task.kind != "regression":
            return -float(np.nanmean((predictions - targets) ** 2))
        values = to_label_units(torch.from_numpy(predictions), _scale(fields)).numpy()
        return score_values(values, labels.reshape(values.shape), data.task.names, metric)

    return score


def score_values(values: np.ndarray, labels: np.ndarray, names: tuple[str, ...], metric: str) -> float:
    """What `compute_metrics` says of values `(rows, outputs)`, of one metric only, as it is asked for each penalty. By
    default rank correlation alone would give up what the values say, so the other one counts as much."""
    output, _, name = metric.rpartition("_")
    columns, present = [names.index(output)] if output else range(len(names)), ~np.isnan(labels)

    def mean_of(name: str) -> float:
        each = [METRICS[name].compute(values[present[:, i], i], labels[present[:, i], i]) for i in columns]
        defined = [float(value) for value in each if value is not None]
        return float(np.mean(defined)) if defined else np.nan

    if metric == "spearman":
        return (mean_of("spearman") + mean_of("pearson")) / 2
    return mean_of(name) * (1 if greater_is_better(metric) else -1)


def _calibrate(
    predictions: np.ndarray, labels: np.ndarray, kind: str, class_weights: list[float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and shifts `(outputs,)` that make logits of what least squares predicts, by the likelihood of the labels:
    one slope for all classes, or one for each of several labels."""
    outputs = predictions.shape[1]
    classes = kind == "classification"
    truth = labels == np.arange(outputs) if classes else labels == 1
    present = np.broadcast_to(~np.isnan(labels), truth.shape)
    weight = present.astype(float)
    if class_weights is not None:
        weights = np.array(class_weights)
        weight *= weights[np.nan_to_num(labels).astype(int)] if classes else np.where(truth, weights, 1)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slopes, shifts = parameters[:outputs] if not classes else parameters[:1], parameters[-outputs:]
        logits = predictions * slopes + shifts
        expected = special.softmax(logits, axis=1) if classes else special.expit(logits)
        error = weight * (expected - truth)
        if classes:
            likelihood = -(weight * truth * special.log_softmax(logits, axis=1)).sum()
        else:
            likelihood = (weight * (np.logaddexp(0, logits) - truth * logits)).sum()
        slope = (error * predictions).sum(axis=None if classes else 0, keepdims=not classes).reshape(-1)
        return likelihood / len(labels), np.concatenate([slope, error.sum(axis=0)]) / len(labels)

    first = np.concatenate([np.full(1 if classes else outputs, 4.0), np.zeros(outputs)])
    found = optimize.minimize(loss, first, jac=True, method="L-BFGS-B").x
    return np.broadcast_to(found[:-outputs], outputs), found[-outputs:]
