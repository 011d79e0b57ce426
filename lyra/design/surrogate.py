"""What is believed of sequences that were not measured: an ensemble by cross-validation.

Each member is a Lyra with its linear term that learned from all folds but one. What a member says of the fold that it
did not learn from decides how much of the ensemble the networks are and how much the linear terms, so that with few
rows it is ridge regression where that is better, and gives the intervals (CV+; Barber et al. 2021).
"""

import contextlib
import copy
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from ..alphabet_lyra import get_alphabet
from ..configuration_lyra import LyraConfig
from ..conformal import check_level, find_limits
from ..data.preparation import CheckedData, Prepared, encode
from ..data.rows import ListedRows
from ..data.strings import Strings
from ..errors import InputError
from ..inference.loading import best_device, load_on_device
from ..inference.logits import logits_of_texts, map_batches, to_items
from ..modeling_lyra import LyraClassificationModel
from ..tasks import Task
from ..tokenization_lyra import LyraTokenizer
from ..training.arguments import ModelArguments
from ..training.job import linear_term_of, settle
from ..training.linear_term import LinearTerm, best_share
from ..training.model import build_model
from ..training.ridge import folds_of
from ..training.selection import rank
from ..training.trainer import LyraTrainingArguments, build_trainer
from .measured import Measured

_FEWEST = 10  # measured sequences to learn from
_EVALUATIONS, _PATIENCE = 15, 6


class Surrogate(Protocol):
    """Says what sequences are worth."""

    def predict(self, sequences: Sequence[str]) -> np.ndarray:
        """`(members, n)`."""

    def limits(self, predicted: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray] | None:
        """The ends of intervals for what [`predict`] gave, `(n,)` each; None where they are not known."""


@dataclass
class CrossValidated:
    """Members of a cross-validation.

    Attributes:
        folds: `(rows,)`, the member that did not learn from each measured sequence.
        residuals: `(rows,)`, by how much that member was wrong, without sign.
        network_share: of the networks in each member; the rest is the linear term's.
    """

    members: list[LyraClassificationModel]
    tokenizer: LyraTokenizer
    folds: np.ndarray
    residuals: np.ndarray
    network_share: float

    def predict(self, sequences: Sequence[str]) -> np.ndarray:
        predict = _predict if self.network_share else _predict_linear
        return predict(self.members, self.tokenizer, sequences)

    def limits(self, predicted: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
        """CV+: of each measured sequence the member that did not learn from it gives a value, less and plus its error
        there; the ends are quantiles of these. A new label like the measured ones is inside with about the probability
        `level`; a little less often, as the held rows chose epochs and the share of the networks, too."""
        outside = rows_outside(level, len(self.folds))
        each, wrong = predicted[self.folds], self.residuals[:, None]
        ends = np.sort(each - wrong, axis=0)[outside - 1], np.sort(each + wrong, axis=0)[-outside]
        return np.minimum(*ends), np.maximum(*ends)  # those of a low level may cross


@dataclass
class Trained:
    """The members of a checkpoint."""

    members: list[LyraClassificationModel]
    tokenizer: LyraTokenizer
    config: LyraConfig

    @classmethod
    def load(cls, name: str, device: str | None = None) -> "Trained":
        """Raises InputError for a checkpoint that does not predict one value for each sequence by itself."""
        model, tokenizer, _ = load_on_device(name, None, device)
        if model.per_token or model.config.problem_type != "regression" or model.config.num_labels != 1:
            raise InputError(f"{name}: expected a model that predicts one value for each sequence")
        if model.config.extra_features is not None:
            raise InputError(f"{name}: reads numbers beside each sequence, which new sequences have not")
        if len(get_alphabet(tokenizer.alphabet).members) > 1:
            raise InputError(f"{name}: reads pairs of sequences, expected a model of single ones")
        return cls([_single(model), *model.members()[1:]], tokenizer, model.config)

    def predict(self, sequences: Sequence[str]) -> np.ndarray:
        return _predict(self.members, self.tokenizer, sequences)

    def limits(self, predicted: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray] | None:
        """By the calibration that the checkpoint has."""
        if self.config.calibration is None:
            return None
        stds = predicted.std(axis=0, ddof=1)[:, None] if len(predicted) > 1 else None
        lower, upper = find_limits(self.config.calibration, predicted.mean(axis=0)[:, None], stds, level)
        return lower[:, 0], upper[:, 0]


def _single(model: LyraClassificationModel) -> LyraClassificationModel:
    """The first member of an ensemble, which is otherwise the ensemble itself."""
    config = copy.deepcopy(model.config)
    config.ensemble_size = 1
    single = type(model)(config).to(model.device)
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("extra_members.")}
    single.load_state_dict(weights)
    return single.eval()


def _predict(
    members: Sequence[LyraClassificationModel], tokenizer: LyraTokenizer, sequences: Sequence[str]
) -> np.ndarray:
    values = [logits_of_texts(member, tokenizer, sequences).logits for member in members]
    return np.stack([to_items(each)[:, 0] for each in values]).astype(float)


def _predict_linear(
    members: Sequence[LyraClassificationModel], tokenizer: LyraTokenizer, sequences: Sequence[str]
) -> np.ndarray:
    """[`_predict`] of members whose read-outs ignore their networks, without computing these."""
    encoded = tokenizer.encode_bulk(sequences)

    def logits(member: LyraClassificationModel) -> Callable[[torch.Tensor], torch.Tensor]:
        ignored = torch.zeros(member.lyra.encoder.pooled_size, device=member.device)
        term, pad = member.linear_term, tokenizer.pad_token_id
        return lambda ids: member.read_out(ignored, term(ids, ids != pad))[1]  # type: ignore[misc]

    values = [map_batches(logits(member), member, encoded, per_token=False) for member in members]
    return np.stack([to_items(each)[:, 0] for each in values]).astype(float)


def fit_surrogate(measured: Measured, seed: int, device: str | None = None, quiet: bool = False) -> CrossValidated:
    """Trains the members.

    Raises:
        InputError: if too few sequences or too few different values were measured, or for a device that is not there.
    """
    check_enough(measured)
    _check_device(device)
    folds = folds_of(measured.sequences, seed)
    for number in range(folds.max() + 1):
        if len(set(measured.values[folds != number])) < 2:
            raise InputError(f"{measured.label!r} is the same for nearly all measured sequences: nothing to learn from")
    count = folds.max() + 1
    jobs = (delayed(_Member.fit)(measured, folds == number, seed + number, device) for number in range(count))
    running = Parallel(_processes(device, count), return_as="generator")(jobs)
    bar = tqdm(running, desc="training", total=count, unit=" members", leave=False, disable=quiet or None)
    fitted = list(bar)
    share = best_share(np.sum([member.losses for member in fitted], axis=0))
    residuals = np.empty(len(folds))
    for number, member in enumerate(fitted):
        member.term.share_out(member.model, share)
        held = [measured.sequences[i] for i in np.flatnonzero(folds == number)]
        (predicted,) = _predict([member.model], member.data.tokenizer, held)
        residuals[folds == number] = np.abs(measured.values[folds == number] - predicted)
    models = [member.model for member in fitted]
    return CrossValidated(models, fitted[0].data.tokenizer, folds, residuals, share)


def check_enough(measured: Measured) -> None:
    """Raises InputError if too few sequences were measured to learn from."""
    if len(measured.sequences) < _FEWEST:
        raise InputError(f"{len(measured.sequences)} measured sequences, expected at least {_FEWEST} to learn from")


def _check_device(name: str | None) -> None:
    """Raises InputError for a device that is not there, or that the Trainer would not take."""
    if best_device(name).index:
        raise InputError(f"--device: {name!r}: training takes cpu or cuda; CUDA_VISIBLE_DEVICES chooses among GPUs")


def rows_outside(level: float, rows: int) -> int:
    """How many of the measured sequences are beyond each end of an interval.

    Raises:
        InputError: if the level is none, or so high that as many rows cannot tell.
    """
    check_level(level)
    outside = math.floor((1 - level) * (rows + 1) + 1e-9)
    if not outside:
        raise InputError(f"--interval {level:g}: needs more measured sequences than {rows}")
    return outside


def _processes(device: str | None, members: int) -> int:
    """One for each member, or for each core: small networks gain nothing from more threads. A GPU takes one."""
    return min(members, cpu_count()) if _is_cpu(device) else 1


def _is_cpu(device: str | None) -> bool:
    return device == "cpu" or (device is None and not torch.cuda.is_available())


@dataclass
class _Member:
    """A member, before it is decided how much of it is the network."""

    model: LyraClassificationModel
    data: Prepared
    term: LinearTerm
    losses: np.ndarray  # of the held rows, by the share of the network

    @classmethod
    def fit(cls, measured: Measured, held: np.ndarray, seed: int, device: str | None) -> "_Member":
        data = encode(_split(measured, held))
        with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            args = _arguments(folder, data, seed, device)
            term = linear_term_of(data, ModelArguments(), args)
            assert term is not None  # as the sequences differ
            set_seed(seed)
            model = build_model(ModelArguments(), data, lambda head, config: head(config), term)
            best = _BestWeights(model)
            trainer = build_trainer(data, args, model=model)
            trainer.add_callback(best)
            trainer.train()
        best.restore()
        return cls(model.eval(), data, term, term.losses(model, data) * held.sum())


def _split(measured: Measured, held: np.ndarray) -> CheckedData:
    """Training data of which the held rows are for validation."""
    sequences = Strings.of(measured.sequences)
    rows = {"train": np.flatnonzero(~held), "validation": np.flatnonzero(held), "test": np.array([], dtype=int)}
    return CheckedData(
        task=Task("regression", (measured.label,), (measured.label,)),
        alphabet=measured.alphabet,
        pair_offset=0,
        sequence_columns=("sequence",),
        sequences={split: sequences.take(own) for split, own in rows.items()},
        labels={split: measured.values[own].astype(float) for split, own in rows.items()},
        rows={split: ListedRows({} for _ in own) for split, own in rows.items()},
        numbers=rows,
        extra_columns=(),
        extra={split: np.empty((len(own), 0)) for split, own in rows.items()},
        units=None,
        sha256=measured.sha256,
        source="the measured sequences",
        notes=[],
    )


def _arguments(folder: str, data: Prepared, seed: int, device: str | None) -> LyraTrainingArguments:
    """The defaults of `lyra train`, with nothing written, and a number of evaluations that costs little."""
    args = LyraTrainingArguments(
        folder,
        seed=seed,
        eval_strategy="steps",
        logging_strategy="steps",
        save_strategy="no",
        load_best_model_at_end=False,
        disable_tqdm=True,
        use_cpu=_is_cpu(device),
    )
    args, _ = settle(data, ModelArguments(), args)
    epochs = math.ceil(args.num_train_epochs)  # type: ignore[arg-type]  # settled
    steps = math.ceil(len(data.rows["train"]) / args.train_batch_size) * epochs
    args.eval_steps = args.logging_steps = max(1, steps // _EVALUATIONS)
    return args


class _BestWeights(TrainerCallback):
    """Keeps the weights of the best evaluation in memory, and stops when there was none for a while."""

    def __init__(self, model: LyraClassificationModel):
        self.model = model
        self.best: tuple[float, float] | None = None
        self.weights: dict[str, torch.Tensor] = {}
        self.without = 0

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any = None, **_: Any
    ) -> None:
        found = rank(metrics, args)
        if self.best is None or found > self.best:
            self.best, self.without = found, 0
            self.weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        else:
            self.without += 1
            control.should_training_stop = self.without >= _PATIENCE

    def restore(self) -> None:
        """Puts the best weights into the model."""
        self.model.load_state_dict(self.weights)
