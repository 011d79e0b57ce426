"""Batches of encoded rows."""

from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from .labels import IGNORE_INDEX


class LyraCollator:
    """Pads encoded rows to one batch of `input_ids`, `labels` and `extra_features`; the model finds pads by their id.

    Labels of residues are padded with -100, and NaN (no measurement) becomes -100, so that the Trainer counts the
    labels that the loss counts.

    Args:
        tokenizer: gives the id of a pad.
        per_token: whether there is a label for each residue.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, per_token: bool):
        self.pad_token_id = int(tokenizer.pad_token_id)  # type: ignore[arg-type]
        self.per_token = per_token

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = {"input_ids": pad([e["input_ids"] for e in examples], self.pad_token_id)}
        if "extra_features" in examples[0]:
            batch["extra_features"] = torch.tensor([e["extra_features"] for e in examples])
        if "labels" in examples[0]:
            batch["labels"] = self._stack_labels([np.asarray(e["labels"]) for e in examples])
        return batch

    def _stack_labels(self, labels: list[np.ndarray]) -> torch.Tensor:
        if not self.per_token:
            return _tensor(np.stack(labels))
        length = max(map(len, labels))
        missing = np.nan if labels[0].dtype.kind == "f" else IGNORE_INDEX
        padded = np.full((len(labels), length, *labels[0].shape[1:]), missing, dtype=labels[0].dtype)
        for row, label in zip(padded, labels, strict=True):
            row[: len(label)] = label
        batch = _tensor(padded)
        return batch.nan_to_num(IGNORE_INDEX)


def pad(rows: list[Any], value: int) -> torch.Tensor:
    """Rows of ids (below 256) of different length as one `(rows, longest)` tensor of int64, filled up on the right."""
    # Bytes, because Arrow gives lists, and numpy reads a list of numbers one by one.
    ids = b"".join(row.tobytes() if getattr(row, "dtype", None) == np.uint8 else bytes(list(row)) for row in rows)
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    batch = np.full((len(rows), lengths.max()), value, dtype=np.int64)
    batch[np.arange(batch.shape[1]) < lengths[:, None]] = np.frombuffer(ids, dtype=np.uint8)
    return torch.from_numpy(batch)


def _tensor(labels: np.ndarray) -> torch.Tensor:
    if labels.dtype.kind != "f":
        return torch.from_numpy(labels.astype(np.int64))
    single = labels.astype(np.float32)
    # The Trainer does not count an exact -100 as a label, so a measurement of -100 moves by one unit in the last place.
    single[single == IGNORE_INDEX] = np.nextafter(np.float32(IGNORE_INDEX), np.float32(0))
    return torch.from_numpy(single)
