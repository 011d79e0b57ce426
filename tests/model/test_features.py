"""Models of float features: the plain module, and heads built with its keywords, as in the project's seed README."""

import re
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from lyra import Lyra, LyraConfig, LyraForSequenceClassification, LyraForTokenClassification

SEED = Path(__file__).parents[3] / "shared" / "seeds" / "lyra-readme.txt"


def test_the_seed_readme_runs_as_written():
    if not SEED.exists():
        pytest.skip(f"the seed README is not at {SEED}")
    scope: dict = {}
    shapes = []
    for block in re.findall(r"```python\n(.*?)```", SEED.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, scope)
        if promised := re.search(r"^y = model\(x\)  # (\([\d, ]+\))", block, re.MULTILINE):
            shapes.append(tuple(scope["y"].shape))
            assert str(shapes[-1]) == promised[1]
    assert shapes == [(32, 1), (32, 100, 3)]


@pytest.mark.parametrize("size", [20, 7])
def test_heads_on_float_features(tmp_path, size):
    """Features in, logits out; with keywords as any head, loss and checkpoint included."""
    model = LyraForTokenClassification(d_input=size, d_model=16, d_output=3, num_s4_layers=1, d_state=8).eval()
    x = torch.randn(2, 9, size)
    logits = model(x)
    assert isinstance(logits, torch.Tensor) and logits.shape == (2, 9, 3)
    mask = torch.tensor([[1] * 9, [1] * 4 + [0] * 5])
    torch.testing.assert_close(model(x, mask)[1, :4], model(x[1:, :4])[0])
    output = model(input_features=x, labels=torch.randint(0, 3, (2, 9)))
    assert torch.equal(output.logits, logits) and output.loss.isfinite()
    model.save_pretrained(tmp_path)
    loaded = LyraForTokenClassification.from_pretrained(tmp_path)
    assert torch.equal(loaded(x), logits) and loaded.config.input_size == (None if size == 20 else size)


def test_labels_beside_features_are_not_dropped():
    model = LyraForSequenceClassification(d_input=7, d_model=16, num_s4_layers=1).eval()
    x, labels = torch.randn(3, 5, 7), torch.randn(3)
    output = model(x, labels=labels)
    assert torch.equal(output.logits, model(x)) and output.loss.isfinite()
    assert torch.equal(model(x, return_dict=False)[0], model(x))


def test_unknown_keywords_are_refused(tmp_path):
    model = LyraForSequenceClassification(d_input=7, d_model=16, num_s4_layers=1)
    with pytest.raises(TypeError, match="d_width"):
        LyraForSequenceClassification(d_width=3)
    with pytest.raises(TypeError, match="got a config and 'd_model'"):
        LyraForSequenceClassification(model.config, d_model=3)
    model.save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="num_lables"):
        LyraForSequenceClassification.from_pretrained(tmp_path, num_lables=3)


def test_a_head_has_the_architecture_of_the_plain_module():
    for pool in ("mean", "mean_last"):
        model = LyraForSequenceClassification(d_input=5, d_model=16, d_output=2, pool=pool)
        assert model(torch.randn(3, 8, 5)).shape == (3, 2)
        assert model.num_parameters() == Lyra(d_input=5, d_model=16, d_output=2, pool=pool).count_parameters()


def test_features_that_are_no_letters():
    """A model of other features than letters has no embeddings of letters."""
    model = LyraForSequenceClassification(d_input=7)
    with pytest.raises(ValueError, match="`input_ids`: this model reads 7 float features"):
        model(torch.tensor([[3, 4]]))
    with pytest.raises(ValueError, match=r"7 entries per position \(`input_size`\)"):
        model(torch.randn(1, 4, 20))
    with pytest.raises(StrictDataclassError, match="`input_size` must be at least 1"):
        LyraConfig(input_size=0)
    assert not hasattr(model.get_input_embeddings(), "weight")
    assert LyraConfig.for_features(d_input=4, alphabet="dna").input_size is None
