"""Predictions over sequences of any length, chromosomes included, in constant memory."""

import codecs
import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from .alphabet_lyra import SPECIAL_TOKENS, get_alphabet
from .modeling_lyra import LyraClassificationModel, SSMStates, as_pads, needed_mask
from .ssm_lyra import DiscreteSSM, advance
from .tables import InputError
from .tokenization_lyra import LyraTokenizer

# Letters that the model sees at a time.
PIECE = 1 << 16
_READ = 1 << 20
_LONGEST_TOKEN = max(map(len, SPECIAL_TOKENS))


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
    one byte each, and reads them once for each layer and once for the answer; between readings it stores two states of
    `hidden_size * state_size` numbers for each layer and `PIECE` letters.

    Args:
        model: a sequence or token head in evaluation mode; its device and dtype are used.
        pieces: consecutive pieces of one sequence, of any sizes; or an open FASTA file, of one or more records.

    Returns:
        An iterator over [`StreamedLogits`] in order. Rows of a token head, put together, are the logits of the whole
        sequence.

    Raises:
        ValueError: if the model is in training mode, an ensemble, or reads pairs of sequences.
        TypeError: if it is no head, or `pieces` are no pieces.
        InputError: while reading, for a record without letters, a file that is no FASTA, or bytes that are no UTF-8.
    """
    if not hasattr(model, "per_token"):
        raise TypeError(f"`model` must be a sequence or token head of Lyra, got {type(model).__name__}")
    if model.training:
        raise ValueError("`model` must be in evaluation mode, call model.eval() first")
    if model.config.ensemble_size > 1 or len(get_alphabet(model.config.alphabet).members) > 1:
        raise ValueError("`model` must be a single model of single sequences; lyra.inference.predict takes any")
    if isinstance(pieces, (str, bytes, os.PathLike)):
        raise TypeError(
            f"`pieces` must be an open FASTA file or an iterable of strings, got one {type(pieces).__name__}; open the "
            "file, or wrap the sequence in a list"
        )
    return stream_member(model, pieces)


def stream_member(model: LyraClassificationModel, pieces: Iterable[str] | IO[Any]) -> Iterator[StreamedLogits]:
    """[`stream`] without its checks, and of an ensemble the first member alone."""
    tokenizer = LyraTokenizer(model.config.alphabet)
    answer = _two_readings if model.config.bidirectional else _one_reading
    for record, texts in _fasta(pieces) if hasattr(pieces, "read") else [(None, iter(pieces))]:  # type: ignore[arg-type]
        with tqdm(desc=record or "sequence", unit=" letters", unit_scale=True, mininterval=1, delay=2) as progress:
            blocks = _blocks(tokenizer, texts)
            first = next(blocks, None)
            if first is None:
                raise InputError(f"{record or 'the sequence'}: expected at least one letter, got none")
            for start, logits in answer(model, chain([first], blocks), progress):
                yield StreamedLogits(record, start, logits)


def _fasta(file: IO[Any]) -> Iterator[tuple[str, Iterator[str]]]:
    """Name and pieces of each record of an open FASTA file, whose pieces are read before the next one."""
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
    decoder = codecs.getincrementaldecoder("utf-8")()  # a part may end inside a character

    def read() -> str:
        try:
            part = file.readline(_READ)
            return decoder.decode(part) if isinstance(part, bytes) else part
        except UnicodeDecodeError as error:
            raise InputError(f"{getattr(file, 'name', 'the file')}: expected UTF-8 text ({error})") from None

    at_start = True
    line = read().removeprefix("\ufeff")
    while line:
        is_header = at_start and line.startswith(">")
        while is_header and not line.endswith("\n") and (rest := read()):
            line += rest
        yield is_header, line
        at_start = line.endswith("\n")
        line = read()


def _blocks(tokenizer: LyraTokenizer, texts: Iterator[str]) -> Iterator[np.ndarray]:
    """The ids of consecutive texts in blocks of `PIECE`; only the last is shorter."""
    waiting: list[np.ndarray] = []
    size, held = 0, ""
    for text in chain(texts, [None]):
        if text is not None and not isinstance(text, str):
            raise TypeError(f"`pieces` must be strings, got {type(text).__name__}")
        held += text or ""
        # A token such as <mask> may be written across two pieces.
        cut = held.rfind("<", -_LONGEST_TOKEN) if text is not None else -1
        (ids,) = tokenizer.encode_bulk([held if cut < 0 else held[:cut]])
        held = "" if cut < 0 else held[cut:]
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
    per_token = model.per_token
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
    encoder = model.lyra.encoder
    with tempfile.TemporaryFile() as spool:
        for block in blocks:
            spool.write(block.tobytes())
        letters = spool.tell()
        progress.total = (len(encoder.layers) + 1) * letters
        starts = range(0, letters, PIECE)
        known: list[list[SSMStates]] = []  # of each layer, at both ends of each block
        for layer in encoder.layers:
            ends: list[tuple[torch.Tensor, torch.Tensor]] = []
            for start in starts:
                with torch.inference_mode():
                    hidden, mask, index = _up_to(model, spool, start, progress, known)
                    left = layer(hidden, as_pads(mask), index, use_cache=True)[1]
                    if not ends:  # room for all: small tensors that stay, among large ones that go, split up the heap
                        ends = [(torch.empty_like(left[0]), torch.empty_like(left[1])) for _ in starts]
                    for kept, state in zip(ends[start // PIECE], left, strict=True):
                        kept.copy_(state)
            with torch.inference_mode():
                known.append(_at_both_ends(ends, layer.systems(ends[0][0].real.dtype), letters))  # type: ignore[operator]
        pooled = None
        for start in starts:
            with torch.inference_mode():
                hidden, mask, _ = _up_to(model, spool, start, progress, known)
                if model.per_token:
                    logits = _logits(model, encoder.final_norm(hidden)[0])
                else:
                    pooled = encoder.add_to_pooled(pooled, hidden, mask)
            if model.per_token:
                yield start, logits
        if pooled is not None:
            with torch.inference_mode():
                logits = _logits(model, encoder.read_pooled(pooled, hidden.dtype)[0])
            yield 0, logits


def _up_to(
    model: LyraClassificationModel, spool: IO[bytes], start: int, progress: tqdm, known: list[list[SSMStates]]
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """What stands behind the PGC stack and the layers whose states are known, for the block at a position: hidden
    states and index as the next layer takes them, and the mask between them."""
    halo = model.lyra.encoder.halo
    before = min(halo, start)
    spool.seek(start - before)
    ids = _tensor(model, np.frombuffer(spool.read(before + PIECE + halo), dtype=np.uint8))
    positions = slice(before, min(before + PIECE, ids.shape[1]))
    progress.update(positions.stop - before)
    mask = ids != model.config.pad_token_id
    outputs, index = model.lyra.pgc_stack(ids, needed_mask(mask), positions)
    hidden, mask = outputs[-1], needed_mask(mask[:, positions])
    for layer, at_ends in zip(model.lyra.encoder.layers, known, strict=False):
        hidden, index = layer(hidden, as_pads(mask), index, at_ends[start // PIECE]), None
    return hidden, mask, index


def _at_both_ends(
    ends: list[tuple[torch.Tensor, torch.Tensor]], systems: tuple[DiscreteSSM, DiscreteSSM], letters: int
) -> list[SSMStates]:
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
