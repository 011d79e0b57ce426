"""Turns a state dict of the published Lyra implementation into a checkpoint of this package, exactly.

    python scripts/tools/convert_original_checkpoint.py STATE_DICT.pt OUTPUT_DIR \\
        --alphabet protein --letters ILVFMCAGPTSYWQNHEDKR

The architecture (channels, expansions, state size, labels) is read from the shapes. `--letters` is the order of the
one-hot columns that the state dict was trained with: ILVFMCAGPTSYWQNHEDKR for proteins, ACGT for DNA, ATCG for RNA.
"""

import argparse
import sys
from pathlib import Path

import torch

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.alphabet_lyra import ALPHABETS, get_alphabet
from lyra.errors import InputError

StateDict = dict[str, torch.Tensor]

_PGC_PARTS = ("in_proj", "in_norm", "conv", "out_proj", "out_norm")


def convert(original: StateDict, alphabet: str, letters: str) -> LyraForSequenceClassification:
    """Builds the model whose outputs equal those of the published implementation with these weights.

    Args:
        original: the published implementation's state dict.
        alphabet: name of the alphabet.
        letters: the letter of each one-hot column; T and U are the same.

    Raises:
        InputError: naming a missing, unknown or misshapen key, or wrong letters.
    """
    # The library the notebooks use keeps a second copy of each convolution under its own name.
    weights = {key: value for key, value in original.items() if ".flash_conv." not in key}
    names = _key_map(weights)
    if missing := sorted(set(names) - set(weights)):
        raise InputError(f"the state dict has no key {missing[0]!r}; expected {', '.join(sorted(names))}")
    if unknown := sorted(set(weights) - set(names)):
        raise InputError(f"the state dict has an unknown key {unknown[0]!r}; expected {', '.join(sorted(names))}")

    model = LyraForSequenceClassification(_config(weights, alphabet))
    converted = {new: weights[old] for old, new in names.items()}
    converted["lyra.embeddings.projection.weight"] = _reorder(weights["encoder.weight"], alphabet, letters)
    linear = "lyra.encoder.layers.0.output_linear.weight"
    converted[linear] = converted[linear].squeeze(-1)  # a convolution of length 1
    expected = model.state_dict()
    for old, new in names.items():
        if converted[new].shape != expected[new].shape:
            raise InputError(f"{old!r}: expected shape {tuple(expected[new].shape)}, got {tuple(converted[new].shape)}")
    model.load_state_dict(converted)
    return model.eval()


def _key_map(weights: StateDict) -> dict[str, str]:
    """Published name to ours; a norm's scale is called `weight` or `scale`."""

    def scale(norm: str) -> str:
        return f"{norm}.scale" if f"{norm}.scale" in weights else f"{norm}.weight"

    names = {f"encoder.{kind}": f"lyra.embeddings.projection.{kind}" for kind in ("weight", "bias")}
    for index, pgc in enumerate(("pgc1", "pgc2")):
        for part in _PGC_PARTS:
            ours = f"lyra.encoder.pgc.{index}.{part}"
            if part.endswith("norm"):
                names[scale(f"{pgc}.{part}")] = f"{ours}.weight"
            else:
                names |= {f"{pgc}.{part}.{kind}": f"{ours}.{kind}" for kind in ("weight", "bias")}
    layer = "lyra.encoder.layers.0"
    names |= {scale("norm"): f"{layer}.norm.weight", "s4d.D": f"{layer}.D"}
    names |= {f"s4d.kernel.{name}": f"{layer}.kernel.{name}" for name in ("C", "log_dt", "log_A_real", "A_imag")}
    names |= {f"s4d.output_linear.0.{kind}": f"{layer}.output_linear.{kind}" for kind in ("weight", "bias")}
    return names | {f"decoder.{kind}": f"classifier.{kind}" for kind in ("weight", "bias")}


def _config(weights: StateDict, alphabet: str) -> LyraConfig:
    hidden_size = weights["encoder.weight"].shape[0]
    convolutions = [weights[f"{pgc}.conv.weight"] for pgc in ("pgc1", "pgc2")]
    return LyraConfig(
        alphabet=alphabet,
        hidden_size=hidden_size,
        state_size=2 * weights["s4d.kernel.C"].shape[1],
        pgc_expansion_factors=[convolution.shape[0] / hidden_size for convolution in convolutions],
        pgc_kernel_size=convolutions[0].shape[-1],
        num_labels=weights["decoder.weight"].shape[0],
    )


def _reorder(projection: torch.Tensor, alphabet: str, letters: str) -> torch.Tensor:
    """The columns of a `(d, a)` projection in the order of our alphabet."""
    ours = get_alphabet(alphabet).letters
    theirs = letters.upper().replace("T", "U") if "U" in ours and alphabet == "rna" else letters.upper()
    if sorted(theirs) != sorted(ours):
        raise InputError(f"--letters: expected each of {ours} once, got {letters}")
    if projection.shape[1] != len(ours):
        raise InputError(f"'encoder.weight': expected {len(ours)} columns, one per letter, got {projection.shape[1]}")
    return projection[:, [theirs.index(letter) for letter in ours]]


def _load(path: Path) -> StateDict:
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # torch raises many kinds for files that are no safe state dict
        raise InputError(f"{path}: not a PyTorch state dict ({str(error).splitlines()[0]})") from None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise InputError(f"{path}: expected a dictionary of tensors")
    return weights


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("state_dict", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--alphabet", choices=sorted(ALPHABETS), required=True)
    parser.add_argument("--letters", required=True, help="order of the one-hot columns")
    arguments = parser.parse_args(argv)
    try:
        if arguments.output_dir.exists() and (not arguments.output_dir.is_dir() or any(arguments.output_dir.iterdir())):
            raise InputError(f"{arguments.output_dir}: the output directory is in use")
        model = convert(_load(arguments.state_dict), arguments.alphabet, arguments.letters)
    except InputError as error:
        print(f"convert_original_checkpoint: error: {error}", file=sys.stderr)
        return 2
    model.save_pretrained(arguments.output_dir)
    LyraTokenizer(arguments.alphabet).save_pretrained(arguments.output_dir)
    print(f"written: {arguments.output_dir}, {model.num_parameters():,} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
