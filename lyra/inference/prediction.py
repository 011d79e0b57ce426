"""Predictions for tables of any size with a trained model, in constant memory."""

from pathlib import Path
from typing import Any

from accelerate import PartialState

from ..data.tables import TableWriter, join_tables, output_format
from ..modeling_lyra import LyraClassificationModel
from ..tokenization_lyra import LyraTokenizer
from .checks import check_paths
from .loading import load_on_device
from .logits import logits_of_texts
from .nearest import COLUMN, Nearest
from .outputs import added_columns, extend_row, prediction_columns
from .parts import fingerprint_of, write_in_parts
from .reading import Chunk, ChunkReader


def predict(
    model_name: str,
    source: str,
    output: str,
    sequence_column: str | None = None,
    pair_column: str | None = None,
    unknown: str = "error",
    device: str | None = None,
    revision: str | None = None,
    resume: bool = False,
    interval: float | None = None,
    nearest: str | None = None,
) -> int:
    """Writes a copy of a table with the model's predictions as further columns.

    The new columns are those of [`prediction_columns`]. Rows keep their order; the output appears when it is complete.
    Until then its parts lie in a folder beside it, each finished or not there, so that an interrupted prediction can be
    resumed. Under `accelerate launch` or `torchrun` the processes share the work, part by part.

    Args:
        model_name: a checkpoint folder or Hub id.
        source: table to read; `output`: table to write, in the format of its suffix.
        sequence_column: by default that of the training data, or else found by its name.
        pair_column: of a model of pairs, the column of the second sequences, found in the same way.
        unknown: `"error"` stops at a character outside the alphabet, `"token"` reads it as `<unk>`.
        device: by default the GPU where there is one, of several processes each its own.
        revision: of a Hub repository.
        interval: level, such as 0.9, of intervals or sets that are added, see [`prediction_columns`].
        nearest: table of training sequences; `nearest_identity`, that to the most similar one, is added.
        resume: whether to keep the parts of an interrupted prediction of the same table by the same model.

    Returns:
        The number of rows.

    Raises:
        InputError: naming file, row and column.
    """
    output_format(output)
    check_paths(model_name, source, output)
    model, tokenizer, state = load_on_device(model_name, revision, device)
    options: dict[str, Any] = {"interval": interval, "nearest": nearest, "resume": resume, "state": state}
    return predict_table(model, tokenizer, source, output, sequence_column, pair_column, unknown, **options)


def predict_table(
    model: LyraClassificationModel,
    tokenizer: LyraTokenizer,
    source: str,
    output: str,
    sequence_column: str | None = None,
    pair_column: str | None = None,
    unknown: str = "error",
    interval: float | None = None,
    nearest: str | None = None,
    resume: bool = False,
    state: PartialState | None = None,
) -> int:
    """[`predict`] with a model that is loaded already."""
    columns_of: dict[str, Any] = {"sequence_column": sequence_column, "pair_column": pair_column, "unknown": unknown}
    fingerprint = fingerprint_of(source, model, **columns_of, interval=interval, nearest=nearest)
    trained_on, length = model.config.training_data, model.config.linear_length
    extra = model.config.extra_features
    reader = ChunkReader(source, tokenizer, trained_on, **columns_of, length=length, extra_features=extra)
    columns = [*reader.names, *added_columns(model.config, model.per_token, interval)]
    known = None
    if nearest is not None:
        known = Nearest(ChunkReader(nearest, tokenizer, trained_on, **columns_of, length=length))
        columns.append(COLUMN)

    def write(chunk: Chunk, path: Path, first: bool) -> None:
        predictions = logits_of_texts(model, tokenizer, chunk.texts, chunk.extra_features)
        added = prediction_columns(predictions, model.config, model.per_token, interval)
        if known is not None:
            added = [row | {COLUMN: identity} for row, identity in zip(added, known(chunk.texts), strict=True)]
        with TableWriter(path, columns, header=first) as writer:
            writer.write(list(map(extend_row, chunk.locations, chunk.rows, added)))

    return write_in_parts(output, reader, write, join_tables, fingerprint, resume, state)
