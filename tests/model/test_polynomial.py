"""A model as a polynomial of its letters, against coefficients that are known."""

from itertools import combinations

import numpy as np
import pytest
import torch

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.alphabet_lyra import get_alphabet
from lyra.simulation import random_landscape

LETTERS = get_alphabet("dna").letters
TOKENIZER = LyraTokenizer("dna")


def landscape_model(seed=0):
    """A landscape of order 2 and a model that is exactly it: its linear term has the coefficients."""
    rng = np.random.default_rng(seed)
    landscape = random_landscape(
        rng, length=9, order=2, positions=4, letters_per_position=2, density=1.0, alphabet="dna"
    )
    sites = sorted({position for subset in landscape.coefficients for position, _ in subset})
    config = LyraConfig(
        alphabet="dna",
        num_labels=1,
        hidden_size=8,
        state_size=4,
        linear_term="pairs",
        linear_length=9,
        linear_sites=sites,
        ensemble_size=2,
    )
    model = LyraForSequenceClassification(config).eval()
    pairs = list(combinations(sites, 2))
    for member in model.members():
        for parameter in member.classifier.parameters():
            torch.nn.init.zeros_(parameter)
        single, double = member.linear_term.weight.data.split([9 * 4, len(pairs) * 16])
        for subset, value in landscape.coefficients.items():
            (one, a), *rest = sorted(subset)
            if rest:
                (other, b) = rest[0]
                row = pairs.index((one, other)) * 16 + LETTERS.index(a) * 4 + LETTERS.index(b)
                double[row] = value
            else:
                single[one * 4 + LETTERS.index(a)] = value
    return landscape, model, sites


def test_coefficients_are_those_of_the_landscape():
    landscape, model, sites = landscape_model()
    (ids,) = TOKENIZER(landscape.wild_type, return_tensors="pt").input_ids
    found = model.explain_polynomial(ids, sites, order=3, reference="first")
    assert found.tokens[0][0] == ids[sites[0]] and len(found.coefficients) == 1 + 4 + 6 + 4
    for subset, coefficients in found.coefficients.items():
        for index in np.ndindex(*coefficients.shape[:-1]):
            named = ((sites[s], found.tokens[s][i]) for s, i in zip(subset, index, strict=True))
            letters = [(site, TOKENIZER.convert_ids_to_tokens(token)) for site, token in named]
            is_own = any(letter == landscape.wild_type[position] for position, letter in letters)
            expected = 0.0 if is_own else landscape.coefficients.get(frozenset(letters), 0.0)
            assert coefficients[index].item() == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(found.variance[3:], torch.zeros(2, 1), atol=1e-8, rtol=0)


def test_averaged_coefficients_are_orthogonal_and_add_up():
    torch.manual_seed(0)
    model = LyraForSequenceClassification(LyraConfig(alphabet="dna", num_labels=2, hidden_size=8, state_size=4)).eval()
    (ids,) = TOKENIZER("ACGTACG", return_tensors="pt").input_ids
    found = model.explain_polynomial(ids, sites=[0, 3, 5], order=3)
    values = sum(term[tuple(0 for _ in subset)] for subset, term in found.coefficients.items())
    torch.testing.assert_close(values, model(ids[None]).logits[0].detach(), atol=1e-5, rtol=1e-4)
    for subset, term in found.coefficients.items():
        for axis in range(len(subset)):
            torch.testing.assert_close(term.mean(axis), torch.zeros_like(term.mean(axis)), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.variance.sum(dim=0), torch.ones(2))
    assert (found.variance[0] == 0).all() and (found.variance[1:] > 0).all()


def test_two_letters_have_walsh_hadamard_coefficients():
    torch.manual_seed(0)
    model = LyraForSequenceClassification(LyraConfig(alphabet="dna", num_labels=1, hidden_size=8, state_size=4)).eval()
    (ids,) = TOKENIZER("ACGT", return_tensors="pt").input_ids
    a, c, g, t = ids.tolist()
    found = model.explain_polynomial(ids, sites=[1, 3], tokens=[[c, g], [t, a]])
    rows = [[a, x, g, y] for x in (c, g) for y in (t, a)]
    values = model(torch.tensor(rows)).logits.detach().view(2, 2)
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert found.coefficients[0, 1][0, 0, 0].item() == pytest.approx((values * signs).mean().item(), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sites": [0, 9]}, "`sites` must be different positions from 0 to 4, got"),
        ({"sites": [1, 1]}, "`sites` must be different positions"),
        ({"sites": [0], "tokens": [[3]]}, "`tokens` must be at least two different ids"),
        ({"sites": [0], "order": 2}, "`order` must be from 0 to the number of sites, 1, got 2"),
        ({"sites": [0], "reference": "wild", "order": 1}, "`reference` must be one of"),
        ({"sites": [0.5]}, "`sites` must be integers, got"),
        ({"sites": 3}, "`sites` must be a list, got 3"),
        ({"sites": [0], "order": 0.5}, "`order` must be from 0"),
        ({"sites": [0], "tokens": [3, 4]}, "`tokens` must be a list, got 3"),
        ({"sites": [0], "tokens": [[3, 999]]}, "`tokens` must be ids from 0 to .*, got 999"),
        ({"sites": [0, 4]}, "`tokens` must be given: position 4 is not one letter"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(arguments, said):
    model = LyraForSequenceClassification(LyraConfig(alphabet="dna", num_labels=1, hidden_size=8, state_size=4)).eval()
    (ids,) = TOKENIZER("ACGTN", return_tensors="pt").input_ids
    with pytest.raises(ValueError, match=said):
        model.explain_polynomial(ids, **arguments)
    with pytest.raises(ValueError, match="evaluation mode"):
        model.train().explain_polynomial(ids, [0, 1])
    long = TOKENIZER("A" * 13, return_tensors="pt").input_ids[0]
    with pytest.raises(ValueError, match="make 1220703125 coefficients, more than"):
        model.eval().explain_polynomial(long, range(13))
