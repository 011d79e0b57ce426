"""The two strands of DNA: a sequence and its reverse complement say the same of what binds both.

`config.reverse_complement` is a key of `MODES`. In training one strand is read, drawn at random for each sequence as
dropout draws channels, because a network that is trained on single strands and averaged afterwards is better than one
that is trained on the average (Zhou, Shrikumar and Kundaje 2022); in evaluation the outputs of both are averaged.

Glossary: b batch, l length, v vocabulary, a letters of the alphabet.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from transformers import initialization as init

from .alphabet_lyra import get_alphabet

if TYPE_CHECKING:
    from .configuration_lyra import LyraConfig

_DNA = "ACGT"  # in whose order complements are mirror images


class Mode(NamedTuple):
    """What `config.reverse_complement` asks for.

    Attributes:
        augments: whether training reads a random strand.
        averages: whether evaluation averages the outputs of both.
    """

    augments: bool
    averages: bool


MODES: dict[str | bool, Mode] = {
    False: Mode(False, False),
    "train": Mode(True, False),
    "predict": Mode(False, True),
    True: Mode(True, True),
}


def has_complements(alphabet: str) -> bool:
    """Whether an alphabet is one of single sequences of DNA."""
    found = get_alphabet(alphabet)
    return len(found.members) == 1 and found.letters == _DNA


def token_complements(alphabet: str) -> list[int]:
    """The id of each token's complement; tokens without one are their own."""
    vectors = get_alphabet(alphabet).vectors()
    return [vectors.index(vector[::-1]) if any(vector) else i for i, vector in enumerate(vectors)]


class LyraReverseComplement(nn.Module):
    """The other strand of ids or of weights of letters."""

    complements: torch.Tensor  # (v,)

    def __init__(self, config: "LyraConfig"):
        super().__init__()
        self.alphabet = config.alphabet
        self.mode = MODES[config.reverse_complement]
        self.register_buffer("complements", torch.tensor(token_complements(self.alphabet)), persistent=False)

    def reset_parameters(self) -> None:
        """Fills `complements` from the alphabet; they are no part of a checkpoint."""
        init.copy_(self.complements, torch.tensor(token_complements(self.alphabet)))

    def is_needed(self) -> bool:
        """Whether anything but the strand that is given is read, in training or in evaluation."""
        return self.mode.augments if self.training else self.mode.averages

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`(b, l)` ids or `(b, l, a)` weights and a mask `(b, l)`, true where real, to those of the other strand."""
        reversed_inputs = reverse(inputs, mask)
        other = reversed_inputs.flip(-1) if inputs.is_floating_point() else self.complements[reversed_inputs]
        return other, None if mask is None else reverse(mask, mask)


def build_strands(config: "LyraConfig") -> LyraReverseComplement | None:
    """The module of a config, if it asks for one."""
    return LyraReverseComplement(config) if config.reverse_complement else None


def reverse(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """`(b, l, ...)` with the positions from the first to the last real one in reverse; pads stay where they are."""
    if mask is None:
        return values.flip(1)
    length = mask.shape[1]
    first = mask.int().argmax(dim=1, keepdim=True)
    last = length - 1 - mask.flip(1).int().argmax(dim=1, keepdim=True)
    place = torch.arange(length, device=mask.device).expand_as(mask)
    index = torch.where((first <= place) & (place <= last), first + last - place, place)
    index = index.view(*index.shape, *[1] * (values.dim() - 2)).expand_as(values)
    return values.gather(1, index)


__all__ = ["MODES", "LyraReverseComplement", "has_complements"]
