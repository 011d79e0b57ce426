"""Predictions over sequences of any length, chromosomes included, in constant memory."""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from .modeling_lyra import LyraClassificationModel, LyraForTokenClassification, LyraS4DLayer
from .ssm_lyra import DiscreteSSM, advance
from .tables import InputError
from .tokenization_lyra import LyraTokenizer

# What the model sees at a time; docs/benchmarks shows how time and memory follow from it.
PIECE = 1 << 16
_READ = 1 << 20

States = tuple[torch.Tensor | None, torch.Tensor | None]


class StreamedLogits(NamedTuple):
    """A part of the answer.

    Attributes:
        record: name of the FASTA record, None of a sequence without a name.
        start: position of the first row of `logits` in the sequence.
        logits: `(positions, labels)` of a token head; `(labels,)` of a sequence head, which answers at the end.
    """

    record: str | None
    start: int
    logits: np.ndarray


def stream(model: LyraClassificationModel, pieces: Iterable[str] | IO[Any]) -> Iterator[StreamedLogits]:
    """The logits of sequences that do not fit in memory, exactly those of the whole sequence.

    A causal model reads once and carries its state along. A bidirectional one keeps the letters in a temporary file,
    one byte each, and reads them once for each layer and once for the answer; between readings it stores one state
    for each layer and `PIECE` positions.

    Args:
        model: a sequence or token head; its device and dtype are used.
        pieces: consecutive pieces of one sequence, of any sizes; or an open FASTA file, of one or more records.

    Yields:
        [`StreamedLogits`] in order. Rows of a token head, put together, are the logits of the whole sequence.

    Raises:
        InputError: for a record without letters, or a file that is no FASTA.
    """
    tokenizer = LyraTokenizer(model.config.alphabet)
    answer = _two_readings if model.config.bidirectional else _one_reading
    training = model.training
    model.eval()
    try:
        for record, texts in _records(pieces):
            with tqdm(desc=record or "sequence", unit=" letters", unit_scale=True, mininterval=1, delay=2) as progress:
                blocks = _blocks(tokenizer, texts)
                first = next(blocks, None)
                if first is None:
                    raise InputError(f"{record or 'the sequence'}: expected at least one letter, got none")
                for start, logits in answer(model, chain([first], blocks), progress):
                    yield StreamedLogits(record, start, logits)
    finally:
        model.train(training)


def _records(pieces: Iterable[str] | IO[Any]) -> Iterator[tuple[str | None, Iterator[str]]]:
    """Name and pieces of each sequence, whose pieces are read before the next one."""
    if isinstance(pieces, str):
        raise TypeError(
            "`pieces` must be an open FASTA file or an iterable of strings, got one string; wrap it in a list"
        )
    if hasattr(pieces, "read"):
        yield from _fasta(pieces)  # type: ignore[arg-type]
    else:
        yield None, iter(pieces)


def _fasta(file: IO[Any]) -> Iterator[tuple[str, Iterator[str]]]:
    """`_records` of an open FASTA file."""
    lines = _lines(file)
    header, text = next(((is_header, text) for is_header, text in lines if text.strip()), (False, ""))
    if not header:
        found = repr(text[:20]) if text else "nothing"
        raise InputError(f"{getattr(file, 'name', 'the file')}: expected a FASTA header such as '>id', got {found}")
    while header:
        name, header = (text[1:].split() or [""])[0], False

        def sequence() -> Iterator[str]:
            nonlocal header, text
            for header, text in lines:
                if header:
                    return
                yield text

        texts = sequence()
        yield name, texts
        for _ in texts:  # what the reader left
            pass


def _lines(file: IO[Any]) -> Iterator[tuple[bool, str]]:
    """Lines, or parts of bounded size where a chromosome stands on one line, and whether they are headers."""

    def read() -> str:
        line = file.readline(_READ)
        return line.decode("utf-8") if isinstance(line, bytes) else line

    at_start = True
    while line := read():
        is_header = at_start and line.startswith(">")
        while is_header and not line.endswith("\n") and (rest := read()):
            line += rest
        yield is_header, line
        at_start = line.endswith("\n")


def _blocks(tokenizer: LyraTokenizer, texts: Iterator[str]) -> Iterator[np.ndarray]:
    """The ids of consecutive texts in blocks of `PIECE`; only the last is shorter."""
    waiting: list[np.ndarray] = []
    size = 0
    for text in texts:
        (ids,) = tokenizer.encode_bulk([text])
        waiting.append(ids)
        size += len(ids)
        if size >= PIECE:
            joined = np.concatenate(waiting)
            whole = size - size % PIECE
            yield from np.split(joined[:whole], whole // PIECE)
            waiting, size = [joined[whole:]], size - whole
    if size:
        yield np.concatenate(waiting)


def _one_reading(
    model: LyraClassificationModel, blocks: Iterator[np.ndarray], progress: tqdm
) -> Iterator[tuple[int, np.ndarray]]:
    per_token = isinstance(model, LyraForTokenClassification)
    cache, start = None, 0
    block: np.ndarray | None = next(blocks)
    while block is not None:
        following = next(blocks, None)
        with torch.inference_mode():
            output = model.lyra(_tensor(model, block), cache_params=cache, use_cache=following is not None)
            logits = _logits(model, output.last_hidden_state[0] if per_token else output.pooler_output[0])
        cache = output.cache_params
        if per_token:
            yield start, logits
            start += len(logits)
        elif following is None:
            yield 0, logits
        progress.update(len(block))
        block = following


def _two_readings(
    model: LyraClassificationModel, blocks: Iterator[np.ndarray], progress: tqdm
) -> Iterator[tuple[int, np.ndarray]]:
    encoder, per_token = model.lyra.encoder, isinstance(model, LyraForTokenClassification)
    with tempfile.TemporaryFile() as spool:
        for block in blocks:
            spool.write(block.tobytes())
        letters = spool.tell()
        progress.total = (len(encoder.layers) + 1) * letters
        starts = range(0, letters, PIECE)
        known: list[list[States]] = []  # of each layer, at both ends of each block
        layers: list[LyraS4DLayer] = list(encoder.layers)  # type: ignore[arg-type]
        for layer in layers:
            with torch.inference_mode():
                ends = [layer.end_states(*_up_to(model, spool, start, progress, known)) for start in starts]
                known.append(_at_both_ends(ends, layer.systems(ends[0][0].real.dtype), letters))  # type: ignore[arg-type]
        pooled = None
        for start in starts:
            with torch.inference_mode():
                hidden, _, index = _up_to(model, spool, start, progress, known)
                assert index is None  # the S4D layers have looked the rows up
                pooled = encoder.add_to_pooled(pooled, hidden, None)
                logits = _logits(model, encoder.final_norm(hidden)[0]) if per_token else None
            if logits is not None:
                yield start, logits
        if not per_token and pooled is not None:
            with torch.inference_mode():
                vector = encoder.read_pooled(pooled).to(hidden.dtype)
                yield 0, _logits(model, encoder.final_norm(vector)[0])


def _up_to(
    model: LyraClassificationModel, spool: IO[bytes], start: int, progress: tqdm, known: list[list[States]]
) -> tuple[torch.Tensor, None, torch.Tensor | None]:
    """What stands behind the PGC stack and the layers whose states are known, for the block at a position."""
    halo = model.lyra.encoder.halo
    before = min(halo, start)
    spool.seek(start - before)
    ids = np.frombuffer(spool.read(before + PIECE + halo), dtype=np.uint8)
    stop = min(before + PIECE, len(ids))
    progress.update(stop - before)
    states, index = model.lyra.local(_tensor(model, ids), None, slice(before, stop))
    hidden = states[-1]
    for layer, at_ends in zip(model.lyra.encoder.layers, known, strict=False):
        hidden, index = layer(hidden, None, index, at_ends[start // PIECE]), None
    return hidden, None, index


def _at_both_ends(
    ends: list[tuple[torch.Tensor, torch.Tensor]], systems: tuple[DiscreteSSM, DiscreteSSM], letters: int
) -> list[States]:
    """The states that enter each block from before and from after, from those that each leaves behind by itself."""
    lengths = [min(PIECE, letters - start) for start in range(0, letters, PIECE)]
    forth = _carried([end for end, _ in ends], systems[0], lengths)
    back = _carried([end for _, end in reversed(ends)], systems[1], lengths[::-1])
    return list(zip(forth, reversed(back), strict=True))


def _carried(ends: list[torch.Tensor], system: DiscreteSSM, lengths: list[int]) -> list[torch.Tensor | None]:
    states: list[torch.Tensor | None] = [None]
    for end, length in zip(ends, lengths, strict=True):
        last = states[-1]
        states.append(end if last is None else advance(system, last, length) + end)
    return states[:-1]


def _tensor(model: LyraClassificationModel, ids: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(ids.astype(np.int64)).unsqueeze(0).to(model.device)


def _logits(model: LyraClassificationModel, vectors: torch.Tensor) -> np.ndarray:
    return model.read_out(vectors)[1].float().cpu().numpy()


__all__ = ["PIECE", "StreamedLogits", "stream"]
