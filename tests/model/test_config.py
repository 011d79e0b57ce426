"""The config: paper-exact defaults, the documented names, and errors that name the field."""

import pytest

from lyra import Lyra, LyraConfig, LyraForSequenceClassification


def test_the_paper_model_has_47169_parameters():
    assert LyraForSequenceClassification(LyraConfig(num_labels=1)).num_parameters() == 47_169


def test_other_names():
    config = LyraConfig(d_model=32, d_state=16, num_s4_layers=3, dropout=0.1, pool="max")
    assert (config.hidden_size, config.state_size, config.num_hidden_layers) == (32, 16, 3)
    assert (config.hidden_dropout_prob, config.pooling) == (0.1, "max")
    config.d_model = 64
    assert config.hidden_size == 64


def test_the_deep_preset_is_the_plain_module():
    config = LyraConfig.deep(num_labels=1)
    assert (config.pgc_expansion_factors, config.pgc_residual, config.num_hidden_layers) == ([1.0, 1.0], True, 4)
    assert config.final_norm and config.classifier_dropout == 0.2
    assert LyraForSequenceClassification(config).num_parameters() == Lyra().count_parameters() == 94_145
    assert LyraConfig.deep(num_s4_layers=6, d_model=128).num_hidden_layers == 6


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("hidden_size", 0, "at least 1"),
        ("hidden_size", 63, "whole number"),
        ("hidden_size", "64", "hidden_size"),
        ("state_size", 7, "even"),
        ("num_hidden_layers", 0, "at least 1"),
        ("pgc_kernel_size", 4, "odd"),
        ("pgc_expansion_factors", [0.3], "whole number"),
        ("pgc_expansion_factors", [0.0], "whole number"),
        ("time_step_min", 0.0, "positive"),
        ("time_step_min", 1.0, "time_step_max"),
        ("hidden_dropout_prob", 1.0, r"\[0, 1\)"),
        ("classifier_dropout", -0.1, r"\[0, 1\)"),
        ("rms_norm_eps", 0.0, "positive"),
        ("pooling", "median", "one of"),
        ("ssm_backend", "cuda", "one of"),
        ("bidirectional", "yes", "bool"),
        ("label_mean", 1.0, "together"),
        ("vocab_size", 33, "32"),
        ("pad_token_id", 1, "0"),
    ],
)
def test_a_wrong_value_is_named(field, value, expected):
    named = "pgc_expansion_factors" if (field, value) == ("hidden_size", 63) else field
    named = "label_std" if field == "label_mean" else named
    with pytest.raises(Exception, match=expected) as error:
        LyraConfig(**{field: value})
    assert named in str(error.value)


def test_label_scale_is_checked_against_the_outputs():
    with pytest.raises(Exception, match="`label_mean` must be one number per label"):
        LyraConfig(num_labels=3, problem_type="regression", label_mean=[1.0, 2.0], label_std=[1.0, 1.0])
    with pytest.raises(Exception, match="`label_std` must be positive"):
        LyraConfig(num_labels=1, label_mean=0.0, label_std=0.0)
    with pytest.raises(Exception, match="`label_mean` must be finite"):
        LyraConfig(num_labels=1, label_mean=float("nan"), label_std=1.0)


@pytest.mark.parametrize("labels", [0, -1, 2**63, 1.5, "3"])
def test_numbers_of_labels_that_would_fill_the_memory(labels):
    with pytest.raises(ValueError, match="`num_labels` must be a number from 1 to 1048576"):
        LyraConfig(num_labels=labels)
