"""What `lyra tune` searches: settings of training and fields of the config, each a range or a list of values."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError, one_line


class Range(NamedTuple):
    """Numbers from `low` to `high`, where `log` says so by their logarithm."""

    low: float
    high: float
    log: bool = False


Space = dict[str, Range | list[Any]]

DEFAULT_SPACE: Space = {
    "learning_rate": Range(5e-4, 8e-3, log=True),
    "weight_decay": Range(1e-3, 0.3, log=True),
    "hidden_dropout_prob": Range(0.0, 0.4),
    "hidden_size": [32, 64, 96, 128],
    "num_hidden_layers": [1, 2, 3],
}


def read_space(path: str | None, known: Collection[str]) -> Space:
    """The space in a YAML file, such as `learning_rate: {low: 1e-4, high: 1e-2, log: true}` or
    `hidden_size: [32, 64]`; by default `DEFAULT_SPACE`.

    Args:
        known: fields that may be searched.

    Raises:
        InputError: naming the file and the field.
    """
    if path is None:
        return DEFAULT_SPACE
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a readable YAML file ({one_line(error)})") from None
    if not isinstance(found, dict) or not found:
        raise InputError(f"{path}: expected fields and their ranges or values, got {found!r}")
    return {name: _read(path, name, value, known) for name, value in found.items()}


def _read(path: str, name: str, value: Any, known: Collection[str]) -> Range | list[Any]:
    if name not in known:
        raise InputError(f"{path}: {name!r} is no field of LyraConfig or TrainingArguments that can be searched")
    if isinstance(value, list) and value:
        return [_number(each) for each in value]
    try:
        found = Range(float(value["low"]), float(value["high"]), bool(value.get("log", False)))
    except (TypeError, KeyError, ValueError, AttributeError):
        raise InputError(f"{path}, {name}: expected a list of values or low, high and log, got {value!r}") from None
    if set(value) - set(Range._fields) or not found.low < found.high or (found.log and found.low <= 0):
        raise InputError(f"{path}, {name}: expected low below high, above 0 where log is true, got {value!r}")
    return found


def _number(value: Any) -> Any:
    """A value; YAML takes 1e-4 for text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """The values of a trial of Optuna; those of a trial of Ray are what it is."""
    if isinstance(trial, dict):
        return {name: trial[name] for name in space}
    return {
        name: trial.suggest_float(name, values.low, values.high, log=values.log)
        if isinstance(values, Range)
        else trial.suggest_categorical(name, values)
        for name, values in space.items()
    }


def ray_space(space: Space) -> dict[str, Any]:
    """The distributions of Ray Tune."""
    from ray import tune

    def distribution(values: Range | list[Any]) -> Any:
        if not isinstance(values, Range):
            return tune.choice(values)
        return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)

    return {name: distribution(values) for name, values in space.items()}
