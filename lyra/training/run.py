"""What `lyra train` does: one model or a cross-validation, in a folder that no other process writes to."""

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..data.arguments import DataArguments
from ..data.cache import Cache
from ..data.preparation import CheckedData, check
from ..errors import InputError
from ..files import locked
from ..hub.publishing import publish
from ..hub.uploading import repository_of
from .arguments import ModelArguments, check_arguments
from .checkpoints import check_output
from .cross_validation import cross_validate
from .job import run_job
from .model import Build
from .running import leave_process_group
from .trainer import LyraTrainingArguments


def train(
    data_args: DataArguments,
    model_args: ModelArguments,
    args: LyraTrainingArguments,
    command: str = "lyra.train",
    build: Build = lambda head, config: head(config),
    data: CheckedData | None = None,
) -> dict[str, Any]:
    """Trains on a table, selects by validation, scores the test split once and writes everything to `args.output_dir`.

    With `data_args.cross_validate` there is such a run of each fold in `folds/`, and the one in `args.output_dir`
    learns from all rows.

    Args:
        command: how the run was started, for the record.
        build: makes a new model of a head's class and a config; to train another architecture on the same terms.
        data: what `check(data_args)` returned, where that was called before.

    Returns:
        The record that `metrics.json` holds.

    Raises:
        InputError: for wrong arguments or data, before anything is written.
    """
    args = copy.copy(args)
    check_arguments(vars(args) | vars(data_args) | vars(model_args))
    output = Path(args.output_dir)  # type: ignore[arg-type]
    main = args.process_index == 0
    if main:
        overwrite = args.overwrite_output_dir
        check_output(output, args.resume, args.resume_from_checkpoint, overwrite)
    # The Trainer would upload its own card, and every checkpoint; and before hours of training comes the token.
    repository = None
    if main and args.push_to_hub:
        repository = repository_of(args.hub_model_id or output.absolute().name, args.hub_token)
    args.push_to_hub = False
    with locked(output) if main else nullcontext(), Cache(Path(data_args.cache_dir or output)) as cache:
        if data_args.cross_validate:
            data = check(data_args) if data is None else data
            record = cross_validate(data, data_args, model_args, args, cache, command, build)
        else:
            record = run_job(cache.prepare(data_args, data), data_args, model_args, args, command, build)
        leave_process_group()
    if repository is not None:
        try:
            publish(str(output), repository, private=bool(args.hub_private_repo), token=args.hub_token)
        except InputError as error:
            raise InputError(f"{error}; the model is in {output}, `lyra publish` uploads it") from None
    return record
