"""`lyra tune`: settings by the validation scores of many short runs, then one run with the best of them.

The search is the Trainer's `hyperparameter_search`. A trial trains one network under the curve of the linear term, as a
run does, and is scored on the validation split; the test split is scored once, by the last run.
"""

import copy
import csv
import json
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..data.arguments import DataArguments
from ..data.preparation import CheckedData, Prepared, check, encode
from ..errors import InputError
from ..files import locked, write_then_rename
from ..modeling_lyra import LyraClassificationModel
from ..plots import plot_trials
from .arguments import ModelArguments, check_arguments
from .checkpoints import check_output
from .job import linear_term_of, run_job, settle
from .linear_term import LinearTerm
from .model import build_model
from .search_space import Range, Space, ray_space, suggest
from .trainer import LyraTrainer, LyraTrainingArguments, build_trainer

_STUDY, _TABLE, _PLOT = "tuning.db", "trials.csv", "trials.png"
_UNPRUNED_TRIALS, _UNPRUNED_EVALUATIONS = 5, 3
_TRAINING_FIELDS = {field.name for field in fields(LyraTrainingArguments)}


class Trial(NamedTuple):
    """One run of a search.

    Attributes:
        state: `"complete"`, `"pruned"` or `"fail"`.
        value: the validation score, None where there is none.
    """

    number: int
    state: str
    value: float | None
    settings: dict[str, Any]


def tune(
    data_args: DataArguments,
    model_args: ModelArguments,
    args: LyraTrainingArguments,
    space: Space,
    trials: int,
    hours: float | None = None,
    backend: str = "optuna",
    command: str = "lyra.training.tune",
    data: CheckedData | None = None,
) -> dict[str, Any]:
    """Searches settings by validation, trains with the best ones into `args.output_dir`, and writes `trials.csv` and
    `trials.png` beside the model. An interrupted search by Optuna goes on with `args.resume`.

    Args:
        space: what to search, see [`read_space`].
        trials: how many settings are tried in all.
        hours: after which no further trial begins.
        backend: a key of `BACKENDS`; `"ray"` is for a cluster.
        data: what `check(data_args)` returned, where that was called before.

    Returns:
        The record that `metrics.json` holds.

    Raises:
        InputError: for wrong arguments or data, a package that is missing, or if no trial has a score.
    """
    check_arguments(vars(args) | vars(data_args) | vars(model_args))
    if data_args.cross_validate:
        raise InputError("--cross_validate: not with lyra tune; `lyra train` takes the settings that were found")
    if args.world_size > 1:
        raise InputError("lyra tune: expected one process; --backend ray spreads the trials over a cluster")
    output = Path(args.output_dir)  # type: ignore[arg-type]
    check_output(output, args.resume, args.resume_from_checkpoint, args.overwrite_output_dir)
    with locked(output):
        prepared = encode(check(data_args) if data is None else data)
        settled, _ = settle(prepared, model_args, args)
        search = _Search(prepared, model_args, settled, linear_term_of(prepared, model_args, settled), space, output)
        if args.overwrite_output_dir:
            search.study.unlink(missing_ok=True)
        found = BACKENDS[backend](search, trials, hours)
        scored = [trial for trial in found if trial.value is not None]
        if not scored:
            raise InputError(f"{output}: none of {len(found)} trials has a validation score")
        best = max(scored, key=lambda trial: search.sign * trial.value)  # type: ignore[operator]
        _write_trials(output / _TABLE, found, space)
        logarithmic = [name for name, values in space.items() if isinstance(values, Range) and values.log]
        shown = [trial._asdict() for trial in found]
        plot_trials(shown, search.metric, search.sign > 0, logarithmic, output / _PLOT)
        print(f"\n── best of {len(found)} trials: {_shown(best.settings)}", flush=True)
        model_args, args = _with_settings(model_args, args, best.settings)
        summary = {"trials": len(found), "validation": best.value, "metric": search.metric, "settings": best.settings}
        return run_job(prepared, data_args, model_args, args, command, _build, more={"tuning": summary})


def _build(head: type[LyraClassificationModel], config: Any) -> LyraClassificationModel:
    return head(config)


def _with_settings(
    model_args: ModelArguments, args: LyraTrainingArguments, settings: dict[str, Any]
) -> tuple[ModelArguments, LyraTrainingArguments]:
    """The arguments with the settings of a trial: of training, and of the config."""
    args, overrides = copy.copy(args), list(model_args.config_overrides or [])
    for name, value in settings.items():
        if name in _TRAINING_FIELDS:
            setattr(args, name, value)
        else:
            overrides.append(f"{name}={json.dumps(value)}")
    return replace(model_args, config_overrides=overrides or None), args


# ── The search ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Search:
    """What all trials share."""

    data: Prepared
    model_args: ModelArguments
    args: LyraTrainingArguments
    term: LinearTerm | None
    space: Space
    output: Path

    @property
    def metric(self) -> str:
        return str(self.args.metric_for_best_model)

    @property
    def sign(self) -> int:
        return 1 if self.args.greater_is_better else -1

    @property
    def study(self) -> Path:
        return self.output / _STUDY

    def build(self, trial: Any) -> LyraClassificationModel:
        """The model of a trial; before the first one, for the Trainer, any."""
        settings = {} if trial is None else suggest(trial, self.space)
        model_args, _ = _with_settings(self.model_args, self.args, settings)
        return build_model(model_args, self.data, _build, self.term)

    def training_settings(self, trial: Any) -> dict[str, Any]:
        return {name: value for name, value in suggest(trial, self.space).items() if name in _TRAINING_FIELDS}

    def trainer(self) -> LyraTrainer:
        args = copy.copy(self.args)
        args.output_dir, args.save_strategy, args.load_best_model_at_end = str(self.output), "no", False
        return build_trainer(self.data, args, model_init=self.build)

    def objective(self, metrics: dict[str, float]) -> float:
        return metrics.get(f"eval_{self.metric}", math.nan)

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        return "maximize" if self.sign > 0 else "minimize"


def _search_optuna(search: _Search, trials: int, hours: float | None) -> list[Trial]:
    """Trials one after the other; hopeless ones are pruned. The study is in a file, so that it can go on."""
    try:
        import optuna
    except ImportError:
        raise InputError("lyra tune needs optuna: pip install 'lyra-bio[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search.output.mkdir(parents=True, exist_ok=True)
    storage = f"sqlite:///{search.study.absolute()}"
    known: dict[str, Any] = {"study_name": "lyra", "storage": storage, "load_if_exists": True}
    study = optuna.create_study(direction=search.direction, **known)
    left = trials - sum(trial.state.is_finished() for trial in study.trials)
    if left > 0:
        trainer = search.trainer()
        trainer.add_callback(_TrialLines(search, trials))
        trainer.hyperparameter_search(
            hp_space=search.training_settings,
            compute_objective=search.objective,
            n_trials=left,
            direction=search.direction,
            backend="optuna",
            timeout=hours and hours * 3600,
            sampler=optuna.samplers.TPESampler(seed=search.args.seed + trials - left),
            pruner=optuna.pruners.MedianPruner(_UNPRUNED_TRIALS, _UNPRUNED_EVALUATIONS),
            **known,
        )
    return [
        Trial(trial.number, trial.state.name.lower(), trial.value, trial.params)
        for trial in study.get_trials()
        if trial.state.is_finished()
    ]


def _search_ray(search: _Search, trials: int, hours: float | None) -> list[Trial]:
    """Trials side by side, wherever Ray runs them."""
    try:
        import ray  # noqa: F401
        from ray import tune as ray_tune  # noqa: F401
    except ImportError:
        raise InputError("--backend ray needs Ray: pip install 'ray[tune]'") from None
    best = search.trainer().hyperparameter_search(
        hp_space=lambda _: ray_space(search.space),
        compute_objective=search.objective,
        n_trials=trials,
        direction=search.direction,
        backend="ray",
        time_budget_s=hours and hours * 3600,
        storage_path=str((search.output / "ray").absolute()),
    )
    found = []
    for number, result in enumerate(best.run_summary.results.values()):
        settings = {name: result["config"][name] for name in search.space if "config" in result}
        found.append(Trial(number, "complete", result.get("objective"), settings))
    return found


BACKENDS = {"optuna": _search_optuna, "ray": _search_ray}


class _TrialLines(TrainerCallback):
    """A line for each trial."""

    def __init__(self, search: _Search, trials: int):
        self.search, self.trials = search, trials
        self._best: float | None = None
        self._last: dict[str, float] = {}

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: dict[str, Any], **_: Any
    ) -> None:
        self._last = {"value": self.search.objective(metrics), "epoch": state.epoch or 0.0}

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        value, sign = self._last.get("value", math.nan), self.search.sign
        if math.isfinite(value) and (self._best is None or sign * value > sign * self._best):
            self._best = value
        best = "" if self._best is None else f", best {self._best:.4f}"
        settings = _shown(state.trial_params or {})
        epoch, epochs = self._last.get("epoch", 0.0), state.num_train_epochs
        print(f"trial: {self.search.metric} {value:.4f}{best}, epoch {epoch:g}/{epochs:g}  {settings}", flush=True)


def _shown(settings: dict[str, Any]) -> str:
    return "  ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in settings.items()
    )


def _write_trials(file: Path, found: list[Trial], space: Space) -> None:
    with write_then_rename(file) as partial, open(partial, "w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["trial", "state", "validation", *space])
        for trial in found:
            values = [trial.settings.get(name) for name in space]
            writer.writerow([trial.number, trial.state, trial.value, *values])
