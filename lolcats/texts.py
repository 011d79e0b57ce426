"""What linear attention is trained on: a table of sequences or texts, or lines of a text file, as batches of tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerBase

from lyra.data.tables import read_rows
from lyra.errors import InputError

_COLUMNS = ("sequence", "text")
_MASKED_SHARE = 0.15


class Pieces(Dataset):
    """Texts as lists of token ids, cut to a length.

    Args:
        max_length: of a piece, in tokens.

    Raises:
        InputError: if there is none.
    """

    def __init__(self, texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        found: list[list[int]] = tokenizer(texts, verbose=False)["input_ids"]
        self.pieces = [ids[start : start + max_length] for ids in found for start in range(0, len(ids), max_length)]
        self.pieces = [piece for piece in self.pieces if len(piece) > 1]
        if not self.pieces:
            raise InputError("expected texts of at least two tokens, found none")

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.pieces[index], "attention_mask": [1] * len(self.pieces[index])}


def read_texts(path: str, column: str | None = None) -> list[str]:
    """The texts of a file: of a table (CSV, TSV, JSON lines, Parquet, XLSX, FASTA, also gzipped) a column, by default
    `sequence` or `text`; of .txt each line that is not empty.

    Raises:
        InputError: naming file, row and column.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    if Path(path).suffix == ".txt":
        if column is not None:
            raise InputError(f"--column: {path} is a text file and has none")
        try:
            found = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    else:
        found = list(_column(path, column))
    if not found:
        raise InputError(f"{path}: expected texts, found none")
    return found


def _column(path: str, column: str | None) -> Iterator[str]:
    for location, row in read_rows(path):
        name = column or next((each for each in _COLUMNS if each in row), None)
        if name is None or name not in row:
            expected = repr(column) if column else " or ".join(map(repr, _COLUMNS))
            raise InputError(f"{path}: expected a column {expected}, found {', '.join(map(repr, row))}")
        if not isinstance(row[name], str) or not row[name].strip():
            raise InputError(f"{location}, column {name!r}: expected a text, got {row[name]!r}")
        yield row[name]


def collator(tokenizer: PreTrainedTokenizerBase, masked: bool) -> DataCollatorForLanguageModeling:
    """Pads pieces on the right and gives labels: the tokens themselves, or of an encoder 15 % of them that are masked.

    Raises:
        InputError: if the tokenizer lacks the token for that.
    """
    if masked and tokenizer.mask_token is None:
        raise InputError(f"{tokenizer.name_or_path}: expected a tokenizer with a mask token")
    if tokenizer.pad_token is None:  # as of GPT-2; its attention mask keeps pads apart
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise InputError(f"{tokenizer.name_or_path}: expected a tokenizer with a pad or end token")
    tokenizer.padding_side = "right"  # so that tokens keep their positions
    return DataCollatorForLanguageModeling(tokenizer, mlm=masked, mlm_probability=_MASKED_SHARE)


def batches(
    pieces: Pieces, collate: DataCollatorForLanguageModeling, size: int, seed: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of pieces in random order, without end."""
    order = torch.Generator().manual_seed(seed)
    while True:
        yield from DataLoader(pieces, batch_size=size, shuffle=True, collate_fn=collate, generator=order)
