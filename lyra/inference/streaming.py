"""Predictions over sequences of any length, chromosomes included, in constant memory."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from ..alphabet_lyra import SPECIAL_TOKENS, get_alphabet
from ..context_lyra import NO_STATES, LyraContext, SSMStates, StateSpaceLayer
from ..data.fasta import read_fasta
from ..errors import InputError
from ..execution_lyra import reduce_mask
from ..linear_lyra import LinearState
from ..modeling_lyra import LyraClassificationModel
from ..pooling_lyra import PooledState, Pooler
from ..ssm_lyra import DiscreteSSM, advance
from ..strands_lyra import MODES
from ..tokenization_lyra import LyraTokenizer

# Letters that the model sees at a time.
BLOCK = 1 << 16
_LONGEST_TOKEN = max(map(len, SPECIAL_TOKENS))


class StreamedLogits(NamedTuple):
    """Logits of a part of a sequence.

    Attributes:
        record: name of the FASTA record, None of a sequence without a name.
        start: position of the first row of `logits` in the sequence.
        logits: `(positions, labels)` of a token head; `(labels,)` of a sequence head, which come at the end.
    """

    record: str | None
    start: int
    logits: np.ndarray


def stream(model: LyraClassificationModel, segments: Iterable[str] | IO[Any]) -> Iterator[StreamedLogits]:
    """The logits of sequences that do not fit in memory, exactly those of the whole sequence.

    A causal model reads once and carries its state along. A bidirectional one keeps the letters in a temporary file,
    one byte each, and reads them once for each layer and once for the logits; between passes it stores two states of
    `hidden_size * state_size` numbers for each layer and `BLOCK` letters.

    Args:
        model: a sequence or token head in evaluation mode; its device and dtype are used.
        segments: consecutive segments of one sequence, of any sizes; or an open FASTA file, of one or more records.

    Returns:
        An iterator over [`StreamedLogits`] in order. Rows of a token head, concatenated, are the logits of the whole
        sequence.

    Raises:
        ValueError: if the model is in training mode, an ensemble, or reads both strands or pairs of sequences.
        TypeError: if it is no head, or `segments` are neither.
        InputError: while reading, for a record without letters, a file that is no FASTA, or bytes that are no UTF-8.
    """
    if not hasattr(model, "per_token"):
        raise TypeError(f"`model` must be a sequence or token head of Lyra, got {type(model).__name__}")
    if model.training:
        raise ValueError("`model` must be in evaluation mode, call model.eval() first")
    if model.config.ensemble_size > 1 or len(get_alphabet(model.config.alphabet).members) > 1:
        raise ValueError("`model` must be a single model of single sequences; lyra.inference.predict takes any")
    if model.config.extra_features is not None:
        raise ValueError("`model` reads extra features, which a stream of letters has not; lyra.inference.predict does")
    if MODES[model.config.reverse_complement].averages:
        raise ValueError("`model` reads both strands, and a stream has one; lyra.inference.predict takes any")
    if isinstance(segments, (str, bytes, os.PathLike)):
        raise TypeError(
            f"`segments` must be an open FASTA file or an iterable of strings, got one {type(segments).__name__}; open "
            "the file, or wrap the sequence in a list"
        )
    return stream_member(model, segments)


def stream_member(model: LyraClassificationModel, segments: Iterable[str] | IO[Any]) -> Iterator[StreamedLogits]:
    """[`stream`] without its checks, and of an ensemble the first member alone."""
    tokenizer = LyraTokenizer(model.config.alphabet)
    logits_of_blocks = _stream_bidirectional if model.config.bidirectional else _stream_causal
    for name, texts in _records(segments):
        with tqdm(desc=name or "sequence", unit=" letters", unit_scale=True, mininterval=1, delay=2) as progress:
            blocks = _blocks(tokenizer, texts)
            first = next(blocks, None)
            if first is None:
                raise InputError(f"{name or 'the sequence'}: expected at least one letter, got none")
            for start, logits in logits_of_blocks(model, chain([first], blocks), progress):
                yield StreamedLogits(name, start, logits)


def _records(segments: Iterable[str] | IO[Any]) -> Iterator[tuple[str | None, Iterator[str]]]:
    """Name and segments of each record of an open FASTA file, or of one sequence without a name."""
    if not hasattr(segments, "read"):
        yield None, iter(segments)
        return
    source, empty = getattr(segments, "name", "the file"), True
    for record in read_fasta(segments, source):  # type: ignore[arg-type]
        empty = False
        yield record.name, record.segments
    if empty:
        raise InputError(f"{source}: expected a FASTA header that starts with '>', got nothing")


def _blocks(tokenizer: LyraTokenizer, texts: Iterator[str]) -> Iterator[np.ndarray]:
    """The ids of consecutive texts in blocks of `BLOCK`; only the last is shorter."""
    pending: list[np.ndarray] = []
    size, held = 0, ""
    for text in chain(texts, [None]):
        if text is not None and not isinstance(text, str):
            raise TypeError(f"`segments` must be strings, got {type(text).__name__}")
        held += text or ""
        # A token such as <mask> may be written across two segments.
        cut = held.rfind("<", -_LONGEST_TOKEN) if text is not None else -1
        (ids,) = tokenizer.encode_bulk([held if cut < 0 else held[:cut]])
        held = "" if cut < 0 else held[cut:]
        pending.append(ids)
        size += len(ids)
        if size >= BLOCK:
            joined = np.concatenate(pending)
            whole = size - size % BLOCK
            yield from np.split(joined[:whole], whole // BLOCK)
            pending, size = [joined[whole:]], size - whole
    if size:
        yield np.concatenate(pending)


def _stream_causal(
    model: LyraClassificationModel, blocks: Iterator[np.ndarray], progress: tqdm
) -> Iterator[tuple[int, np.ndarray]]:
    """Start and logits of what each block emits: a causal model carries its state along."""
    per_token = model.per_token
    cache, start, linear = None, 0, LinearSum(model)
    block: np.ndarray | None = next(blocks)
    while block is not None:
        following = next(blocks, None)
        with torch.inference_mode():
            ids = _tensor(model, block)
            linear.add(ids)
            output = model.lyra(ids, cache_params=cache, use_cache=following is not None)
            if per_token:
                yield start, _logits(model, output.last_hidden_state[0])
                start += output.last_hidden_state.shape[1]
            elif following is None:
                yield 0, _logits(model, output.pooler_output[0], linear.total())
        cache = output.cache_params
        progress.update(len(block))
        block = following


def _stream_bidirectional(
    model: LyraClassificationModel, blocks: Iterator[np.ndarray], progress: tqdm
) -> Iterator[tuple[int, np.ndarray]]:
    """Start and logits of each block: a bidirectional model first finds the states at both ends of every block, layer
    by layer."""
    base = model.lyra
    layers = base.encoder.layers
    with tempfile.TemporaryFile() as file:
        for block in blocks:
            file.write(block.tobytes())
        context = FileContext(model, file)
        progress.total = (len(layers) + 1) * context.length
        for index, layer in enumerate(layers):
            for ids in context.read(progress):
                with torch.inference_mode():
                    base.encode(ids, None, context, num_layers=index + 1)
            with torch.inference_mode():
                context.carry_states(layer)  # type: ignore[arg-type]
        linear = LinearSum(model)
        for ids in context.read(progress):
            with torch.inference_mode():
                linear.add(ids)
                output = base.encode(ids, None, context)
                if model.per_token:
                    logits = _logits(model, output.last_hidden_state[0])  # type: ignore[index]
            if model.per_token:
                yield context.start, logits
        if not model.per_token:  # the last block has pooled them all
            with torch.inference_mode():
                logits = _logits(model, output.pooler_output[0], linear.total())  # type: ignore[index]
            yield 0, logits


class FileContext(LyraContext):
    """The context of one long sequence whose ids are in a file, one byte each, and are read block by block.

    A layer's states at both ends of every block are known after one pass over the file: `keep_states` collects those
    that each block ends with, `carry_states` carries them through the blocks after it.
    """

    def __init__(self, model: LyraClassificationModel, file: IO[bytes]):
        self.model, self.file = model, file
        self.length, self.start = file.tell(), 0
        self.states: list[list[SSMStates]] = []  # of each layer, before and after each block
        self._final: list[SSMStates] = []  # of the next layer, after and before each block by itself
        self._pooled: PooledState | None = None

    @property
    def _starts(self) -> range:
        return range(0, self.length, BLOCK)

    @property
    def _block(self) -> int:
        return self.start // BLOCK

    def read(self, progress: tqdm) -> Iterator[torch.Tensor]:
        """The ids `(1, l)` of each block."""
        for start in self._starts:
            self.start = start
            yield self._ids(start, start + BLOCK)
            progress.update(min(BLOCK, self.length - start))

    def _ids(self, start: int, stop: int) -> torch.Tensor:
        self.file.seek(max(0, start))
        ids = np.frombuffer(self.file.read(stop - max(0, start)), dtype=np.uint8)
        return _tensor(self.model, ids)

    def with_halo(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, halo: int
    ) -> tuple[torch.Tensor, torch.Tensor | None, slice]:
        stop = self.start + inputs.shape[1]
        before, after = self._ids(self.start - halo, self.start), self._ids(stop, stop + halo)
        ids = torch.cat([before, inputs, after], dim=1)
        mask = ids != self.model.config.pad_token_id
        return ids, reduce_mask(mask), slice(before.shape[1], before.shape[1] + inputs.shape[1])

    def initial_states(self, layer: StateSpaceLayer, u: torch.Tensor) -> SSMStates:
        return self.states[layer.layer_idx][self._block] if layer.layer_idx < len(self.states) else NO_STATES

    def keep_states(self, layer: StateSpaceLayer, u: torch.Tensor, initial: SSMStates) -> None:
        if layer.layer_idx < len(self.states):
            return
        final = layer.final_states(u)
        if not self._final:  # room for all: small tensors that stay, among large ones that go, fragment the heap
            self._final = [SSMStates(*map(torch.empty_like, final)) for _ in self._starts]  # type: ignore[arg-type]
        for kept, state in zip(self._final[self._block], final, strict=True):
            kept.copy_(state)  # type: ignore[union-attr, arg-type]

    def carry_states(self, layer: StateSpaceLayer) -> None:
        """After a pass over all blocks: the states that enter each block of this layer, from before and from after."""
        forward = [final.forward for final in self._final]
        backward = [final.backward for final in reversed(self._final)]
        lengths = [min(BLOCK, self.length - start) for start in self._starts]
        system, reverse = layer.systems(forward[0].real.dtype)  # type: ignore[union-attr]
        before = _carry(system, forward, lengths)
        after = _carry(reverse, backward, lengths[::-1])  # type: ignore[arg-type]
        self.states.append(list(map(SSMStates, before, reversed(after))))
        self._final = []

    def pool(self, pooler: Pooler, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> PooledState | None:
        if len(self.states) == len(self.model.lyra.encoder.layers) and not self.model.per_token:
            self._pooled = pooler.update(self._pooled, hidden_states, mask)
        return self._pooled


def _carry(system: DiscreteSSM, final: list[Any], lengths: list[int]) -> list[torch.Tensor | None]:
    """The state before each block, from the states after each block by itself, in the order in which they are read."""
    states: list[torch.Tensor | None] = [None]
    for state, length in zip(final, lengths, strict=True):
        last = states[-1]
        states.append(state if last is None else advance(system, last, length) + state)
    return states[:-1]


def _tensor(model: LyraClassificationModel, ids: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(ids.astype(np.int64)).unsqueeze(0).to(model.device)


class LinearSum:
    """The linear term of one sequence, block by block; nothing where the model has none."""

    def __init__(self, model: LyraClassificationModel):
        self.term, self.pad_token_id = model.linear_term, model.config.pad_token_id
        self._state: LinearState | None = None

    def add(self, ids: torch.Tensor) -> None:
        """The ids `(1, l)` of the next block."""
        if self.term is not None:
            self._state = self.term.update(self._state, ids, ids != self.pad_token_id)

    def total(self) -> torch.Tensor | None:
        """The contributions `(labels,)` of all blocks."""
        return None if self._state is None else self.term.finalize(self._state)[0]  # type: ignore[union-attr]


def _logits(
    model: LyraClassificationModel, vectors: torch.Tensor, contributions: torch.Tensor | None = None
) -> np.ndarray:
    return model.read_out(vectors, contributions)[1].float().cpu().numpy()
