"""What adds up: a linear term of the sequence beside the network, and a curve over both.

Many effects of mutations add up on a latent scale that the measurement bends (global epistasis, as MAVE-NN has it,
Tareen et al. 2022). So a sequence head may compute `y = g(W phi(x) + b + W' Lyra(x))`: phi counts letters at positions,
at pairs of positions, or words; g is the identity plus eight hyperbolic tangents. A new kind of features is one more
entry of `LINEAR_TERMS`.

Glossary: b batch, l length, n length of the aligned sequences, v vocabulary, f entries of a letter's vector, p pairs of
positions, o outputs.
"""

import math
from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init

from .alphabet_lyra import Alphabet, get_alphabet
from .execution_lyra import at_least_fp32, is_eager_cpu
from .strands_lyra import MODES, LyraReverseComplement

if TYPE_CHECKING:
    from .configuration_lyra import LyraConfig

CURVES = ("free", "monotone")
TANHS = 8  # of a curve
_WORD_TABLE = 200_000  # words of tokens that are looked up; the rows of saved weights follow from it


class LinearState(NamedTuple):
    """What a linear term knows after a part of the sequences.

    Attributes:
        sums: `(b, lengths of words, o)`, of words the contributions so far.
        num_positions: `(b, 1)`, real ones so far.
        letters: `(b, t)` ids or `(b, t, f)` vectors that the rest still needs, zero or pads where masked.
        mask: `(b, t)`, true where those are real.
    """

    sums: torch.Tensor
    num_positions: torch.Tensor
    letters: torch.Tensor
    mask: torch.Tensor


class LyraLinearTerm(nn.Module):
    """Contributions to the outputs that add up, as sums of looked-up rows.

    Attributes:
        weight: `(features, o)`.
        reach: positions before a part of a sequence that its contributions depend on.
        needs_whole: whether they also depend on those after it.
    """

    encodings: torch.Tensor  # (v, f)
    reach: int
    needs_whole: bool

    def __init__(self, config: "LyraConfig", num_features: int):
        super().__init__()
        self.alphabet, self.input_size = config.alphabet, config.input_size
        self.pad_token_id = int(config.pad_token_id or 0)
        self.register_buffer("encodings", token_vectors(config.alphabet, config.input_size), persistent=False)
        self.weight = nn.Parameter(torch.empty(num_features, config.num_labels))
        self.strands = LyraReverseComplement(config) if MODES[config.reverse_complement].averages else None

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Weights of zero; the vectors of tokens are no part of a checkpoint."""
        init.copy_(self.encodings, token_vectors(self.alphabet, self.input_size))
        init.zeros_(self.weight)

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(b, l)` ids or `(b, l, letters)` vectors and a mask `(b, l)`, true where real, to `(b, o)`."""
        with torch.autocast(device_type=inputs.device.type, enabled=False):
            sums = self.finalize(self.update(None, inputs, mask))
            if self.strands is None:
                return sums
            return (sums + self.finalize(self.update(None, *self.strands(inputs, mask)))) / 2

    def update(self, state: LinearState | None, inputs: torch.Tensor, mask: torch.Tensor | None) -> LinearState:
        """The state after one more part of the sequences, from that before it, or None at the start."""
        raise NotImplementedError

    def finalize(self, state: LinearState) -> torch.Tensor:
        """The contributions `(b, o)` to the outputs."""
        raise NotImplementedError

    def _read(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids or vectors `(b, l, f)` that add nothing where masked, and the mask."""
        if mask is None:
            mask = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
        mask = mask.to(inputs.device)
        if not inputs.is_floating_point():
            return inputs.masked_fill(~mask, self.pad_token_id), mask
        vectors = at_least_fp32(inputs)
        if self.encodings.shape[1] != vectors.shape[-1]:
            vectors = _with_products(vectors, get_alphabet(self.alphabet))
        return vectors.masked_fill(~mask.unsqueeze(-1), 0), mask


class LyraExtraTerm(nn.Module):
    """Contributions of the numbers beside each sequence, `config.extra_features`, standardised.

    Attributes:
        weight: `(features, o)`.
    """

    def __init__(self, config: "LyraConfig"):
        super().__init__()
        self.names = list(config.extra_features or [])
        self.means, self.stds = list(config.extra_means or []), list(config.extra_stds or [])
        self.weight = nn.Parameter(torch.empty(len(self.names), config.num_labels))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        init.zeros_(self.weight)

    def forward(self, values: torch.Tensor | None) -> torch.Tensor:
        """`(b, features)` in their own units to `(b, o)`.

        Raises:
            ValueError: naming the features, if there are none or another number of them.
        """
        if values is None or values.shape[-1] != len(self.names):
            got = "none" if values is None else f"{values.shape[-1]}"
            raise ValueError(f"`extra_features`: this model reads {', '.join(self.names)} of each sequence, got {got}")
        weight = at_least_fp32(self.weight)
        means, stds = (torch.tensor(each, dtype=weight.dtype, device=weight.device) for each in (self.means, self.stds))
        return ((values.to(weight) - means) / stds) @ weight


class AlignedTerm(LyraLinearTerm):
    """The letter at each position of sequences of one length and, of `"pairs"`, the letters at each two of
    `config.linear_sites`."""

    needs_whole = True

    def __init__(self, config: "LyraConfig"):
        sites = (config.linear_sites or []) if config.linear_term == "pairs" else []
        pairs = list(combinations(sites, 2))
        size = token_vectors(config.alphabet, config.input_size).shape[1]
        length = int(config.linear_length or 0)
        super().__init__(config, length * size + len(pairs) * size**2)
        self.length = self.reach = length
        self.pairs = pairs

    def update(self, state: LinearState | None, inputs: torch.Tensor, mask: torch.Tensor | None) -> LinearState:
        letters, mask = self._read(inputs, mask)
        if state is not None:  # all letters are kept: as many as there are rows of weights
            letters, mask = torch.cat([state.letters, letters], dim=1), torch.cat([state.mask, mask], dim=1)
            if letters.shape[1] > self.length:
                raise ValueError(self._wrong_length(f"at least {letters.shape[1]}"))
        return LinearState(self.weight.new_zeros(0), mask.sum(dim=1, keepdim=True), letters, mask)

    def finalize(self, state: LinearState) -> torch.Tensor:
        """The contributions `(b, o)` to the outputs.

        Raises:
            ValueError: for sequences of another length than the model learned from. On a GPU or under a compiler, where
                looking would make the device wait, their contributions are NaN.
        """
        letters, has_length = self._align(state)
        size, weight = self.encodings.shape[1], at_least_fp32(self.weight)
        single, double = weight[: self.length * size], weight[self.length * size :]
        single = single.view(self.length, size, -1)
        double = double.view(len(self.pairs), size, size, weight.shape[1])
        first, second = (list(sites) for sites in zip(*self.pairs, strict=True)) if self.pairs else ([], [])
        if letters.is_floating_point():
            sums = torch.einsum("bnf,nfo->bo", letters, single)
            if self.pairs:
                half = torch.einsum("bpf,pfgo->bpgo", letters[:, first], double)
                sums = sums + torch.einsum("bpgo,bpg->bo", half, letters[:, second])
        else:
            vectors, tokens = self.encodings.to(weight.dtype), len(self.encodings)
            table = torch.einsum("vf,nfo->nvo", vectors, single)
            sums = _sum_rows(table, letters)
            if self.pairs:
                table = torch.einsum("vf,pfgo,wg->pvwo", vectors, double, vectors)
                sums = sums + _sum_rows(table.flatten(1, 2), letters[:, first] * tokens + letters[:, second])
        return sums if has_length is None else torch.where(has_length, sums, torch.nan)

    def _align(self, state: LinearState) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The letters from the first real position on, `(b, n)` or `(b, n, f)`, and where they are as many, `(b, 1)`;
        None where all are."""
        letters, mask = state.letters, state.mask
        length, eager = letters.shape[1], is_eager_cpu(letters)
        if eager and mask.all():
            if length != self.length:
                raise ValueError(self._wrong_length(str(length)))
            return letters, None
        start = mask.int().argmax(dim=1, keepdim=True)
        lengths = length - mask.flip(1).int().argmax(dim=1, keepdim=True) - start
        has_length = lengths.eq(self.length)
        if eager and not has_length.all():
            raise ValueError(self._wrong_length(str(int(lengths[~has_length][0]))))
        index = start + torch.arange(self.length, device=start.device)
        index = index.clamp(max=length - 1)  # beyond only where the length is another one
        if letters.is_floating_point():
            index = index.unsqueeze(-1).expand(-1, -1, letters.shape[2])
        return letters.gather(1, index), has_length

    def _wrong_length(self, length: str) -> str:
        return (
            f"the model's linear term knows the positions of aligned sequences (`linear_term`), which must have "
            f"{self.length} letters, got {length}"
        )


class WordsTerm(LyraLinearTerm):
    """Counts of words of one letter and more, over the square root of the number of words of that length."""

    needs_whole = False

    def __init__(self, config: "LyraConfig"):
        tokens, size = token_vectors(config.alphabet).shape
        longest = longest_word(tokens)
        super().__init__(config, sum(size**k for k in range(1, longest + 1)))
        self.longest, self.reach = longest, longest - 1

    def update(self, state: LinearState | None, inputs: torch.Tensor, mask: torch.Tensor | None) -> LinearState:
        letters, mask = self._read(inputs, mask)
        count = mask.sum(dim=1, keepdim=True)
        if state is None:  # nothing before: words that begin there count for nothing
            filler = 0 if letters.is_floating_point() else self.pad_token_id
            before = letters.new_full((len(letters), self.reach, *letters.shape[2:]), filler)
        else:
            before, count = state.letters, count + state.num_positions
        letters = torch.cat([before, letters], dim=1)
        sums = self._sums(letters, inputs.shape[1])
        if state is not None:
            sums = sums + state.sums
        kept = letters[:, letters.shape[1] - self.reach :]
        return LinearState(sums, count, kept, mask[:, :0])

    def finalize(self, state: LinearState) -> torch.Tensor:
        lengths = torch.arange(self.longest, device=state.sums.device)
        words = (state.num_positions - lengths).clamp(min=1)  # (b, k)
        return (state.sums * words.to(state.sums.dtype).rsqrt().unsqueeze(-1)).sum(dim=1)

    def _sums(self, letters: torch.Tensor, length: int) -> torch.Tensor:
        """The contributions `(b, k, o)` of the words of each length that end at the last `length` positions."""
        size, weight = self.encodings.shape[1], at_least_fp32(self.weight)
        sums = []
        for k, rows in enumerate(weight.split([size**k for k in range(1, self.longest + 1)]), start=1):
            start = letters.shape[1] - length - k + 1
            places = [letters[:, start + i : start + i + length] for i in range(k)]
            if letters.is_floating_point():
                sums.append(_outer_sums(places) @ rows)
            else:
                index = places[0]
                for place in places[1:]:
                    index = index * len(self.encodings) + place
                sums.append(F.embedding(index, self._word_table(rows, k)).sum(dim=1))
        return torch.stack(sums, dim=1)

    def _word_table(self, rows: torch.Tensor, k: int) -> torch.Tensor:
        """`(f^k, o)` to the contribution of each word of k tokens, `(v^k, o)`."""
        vectors, outputs = self.encodings.to(rows.dtype), rows.shape[-1]
        for _ in range(k):  # one letter a time, which moves to the end
            rows = (rows.reshape(vectors.shape[1], -1, outputs).transpose(0, 2) @ vectors.t()).permute(1, 2, 0)
        return rows.reshape(-1, outputs)


# By the name that `LyraConfig.linear_term` takes.
LINEAR_TERMS: dict[str, Callable[["LyraConfig"], LyraLinearTerm]] = {
    "positions": AlignedTerm,
    "pairs": AlignedTerm,
    "words": WordsTerm,
}


def build_linear_term(config: "LyraConfig") -> LyraLinearTerm | None:
    """The linear term of a config, if it has one."""
    return None if config.linear_term is None else LINEAR_TERMS[config.linear_term](config)


class LyraCurve(nn.Module):
    """`g(x) = scale x + offset + sum_i height_i tanh(slope_i x + shift_i)` of each output; monotone where neither scale
    nor any `height_i slope_i` is below zero. With the scale a fitted curve takes latent values of mean 0 and variance
    1, so that a network learns under it as it does without."""

    def __init__(self, config: "LyraConfig"):
        super().__init__()
        self.monotone = config.global_epistasis == "monotone"
        self.scale = nn.Parameter(torch.empty(config.num_labels))
        self.offset = nn.Parameter(torch.empty(config.num_labels))
        self.slope = nn.Parameter(torch.empty(config.num_labels, TANHS))
        self.shift = nn.Parameter(torch.empty(config.num_labels, TANHS))
        self.height = nn.Parameter(torch.empty(config.num_labels, TANHS))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The identity, or nearly so where the signs must not change, with bends at even distances."""
        init.ones_(self.scale)
        init.zeros_(self.offset)
        init.ones_(self.slope)
        init.copy_(self.shift, torch.linspace(-2, 2, TANHS).expand(self.shift.shape))
        init.constant_(self.height, 0.01 if self.monotone else 0.0)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """`(..., o)` to `(..., o)`."""
        with torch.autocast(device_type=latent.device.type, enabled=False):
            latent = at_least_fp32(latent)
            parameters = (self.scale, self.offset, self.slope, self.shift, self.height)
            scale, offset, slope, shift, height = map(at_least_fp32, parameters)
            if self.monotone:
                scale, slope, height = scale.abs(), slope.abs(), height.abs()
            bent = (height * torch.tanh(slope * latent.unsqueeze(-1) + shift)).sum(dim=-1)
            return scale * latent + offset + bent


def token_vectors(alphabet: str, input_size: int | None = None) -> torch.Tensor:
    """The vector of each token, `(v, f)`; of two aligned sequences with the product of their letters beside it, so that
    their combination counts; zeros for a model of `input_size` other features."""
    letters = get_alphabet(alphabet)
    vectors = torch.tensor(letters.vectors())
    if input_size not in (None, len(letters.letters)):
        return vectors.new_zeros(len(vectors), input_size)
    return _with_products(vectors, letters)


def longest_word(tokens: int) -> int:
    """The most letters of a word of which a vocabulary of so many tokens makes a table that can be looked up."""
    return int(math.log(_WORD_TABLE, tokens))


def _with_products(vectors: torch.Tensor, alphabet: Alphabet) -> torch.Tensor:
    if len(alphabet.members) == 1:
        return vectors
    first, second = vectors.split([len(member.letters) for member in alphabet.members], dim=-1)
    products = (first.unsqueeze(-1) * second.unsqueeze(-2)).flatten(-2)
    return torch.cat([vectors, products], dim=-1)


def _sum_rows(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Of the tables `(n, rows, o)` one row each, `index` `(b, n)`, summed to `(b, o)`."""
    first = torch.arange(table.shape[0], device=index.device) * table.shape[1]
    return F.embedding(index + first, table.flatten(0, 1)).sum(dim=1)


def _outer_sums(places: list[torch.Tensor]) -> torch.Tensor:
    """The outer products of vectors `(b, l, f)`, summed over l, `(b, f^k)`."""
    product = places[0]
    for place in places[1:-1]:
        product = (product.unsqueeze(-1) * place.unsqueeze(-2)).flatten(-2)
    if len(places) == 1:
        return product.sum(dim=1)
    return (product.transpose(1, 2) @ places[-1]).flatten(1)


__all__ = [
    "CURVES",
    "LINEAR_TERMS",
    "TANHS",
    "LinearState",
    "LyraCurve",
    "LyraExtraTerm",
    "LyraLinearTerm",
    "build_linear_term",
    "longest_word",
    "token_vectors",
]
