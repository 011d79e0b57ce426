"""Lyra configuration."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from .alphabet_lyra import MASK_TOKEN, PAD_TOKEN, UNK_TOKEN, get_alphabet
from .linear_lyra import CURVES, LINEAR_TERMS
from .pooling_lyra import POOLINGS
from .ssm_backends_lyra import SSM_BACKENDS
from .strands_lyra import MODES, has_complements

# What follows from the labels of one task, and does not carry over to another.
LABEL_FIELDS = ("label_mean", "label_std", "label_quantiles", "class_weights", "calibration")
EXTRA_FIELDS = ("extra_features", "extra_means", "extra_stds")
LINEAR_FIELDS = ("linear_term", "linear_length", "linear_sites", "global_epistasis")
_MOST_LABELS = 1 << 20

# Written into every checkpoint, whichever head saved it, so that any Auto class loads from any head's checkpoint.
AUTO_MAP = {
    "AutoConfig": "configuration_lyra.LyraConfig",
    "AutoModel": "modeling_lyra.LyraModel",
    "AutoModelForMaskedLM": "modeling_lyra.LyraForMaskedLM",
    "AutoModelForSequenceClassification": "modeling_lyra.LyraForSequenceClassification",
    "AutoModelForTokenClassification": "modeling_lyra.LyraForTokenClassification",
}


@strict
class LyraConfig(PreTrainedConfig):
    r"""
    Configuration of [`LyraModel`] and its heads. The defaults are the architecture of the paper (Ramesh et al. 2025,
    arXiv 2503.16351): with the protein alphabet and one label the sequence model has 47,169 parameters.
    [`LyraConfig.deep`] gives the deeper residual variant.

    Args:
        alphabet (`str`, *optional*, defaults to `"protein"`):
            `"protein"`, `"dna"`, `"rna"`; one of them with letters to be read as others, as in `"protein,J=-"` (J is a
            gap); `"dna+dna"`, `"rna+rna"`, ... for two aligned sequences; or the letters of a custom alphabet in upper
            case. Fixes the vocabulary and the vector of each token, and agrees with [`LyraTokenizer`] of the same
            alphabet.
        input_size (`int`, *optional*):
            Number of float features per position, for models on custom `input_features` instead of letters; such a
            model takes no `input_ids`.
        hidden_size (`int`, *optional*, defaults to 64):
            Number of channels, d in the paper. Also `d_model`.
        state_size (`int`, *optional*, defaults to 64):
            Size n of the state of each channel; n/2 conjugate pairs are stored. Also `d_state`.
        num_hidden_layers (`int`, *optional*, defaults to 1):
            Number of S4D layers. Also `num_s4_layers`.
        pgc_expansion_factors (`list[float]`, *optional*, defaults to `(0.25, 2.0)`):
            Expansion r of each projected gated convolution, in order; `r * hidden_size` must be a whole number.
        pgc_kernel_size (`int`, *optional*, defaults to 3):
            Length of the depthwise convolutions, odd.
        pgc_residual (`bool`, *optional*, defaults to `False`):
            Whether each projected gated convolution is added to its input.
        final_norm (`bool`, *optional*, defaults to `False`):
            Whether what the read-out sees (each position, or the pooled vector) is RMS-normalised.
        time_step_min, time_step_max (`float`, *optional*, defaults to 0.001 and 0.1):
            Range of the log-uniform initial step sizes.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.2):
            Dropout inside the S4D layers. Also `dropout`.
        classifier_dropout (`float`, *optional*, defaults to 0.0):
            Dropout before the read-out.
        rms_norm_eps (`float`, *optional*, defaults to 1e-8):
            Added to the mean square in every RMSNorm.
        pooling (`str`, *optional*, defaults to `"mean"`):
            How positions become one vector: `"mean"`, `"max"`, `"first"` or `"last"`, over real positions, or
            `"mean_last"`, the mean and the last side by side, twice as long: where all sequences have one length, the
            last state knows the position of each letter. Also `pool`.
        bidirectional (`bool`, *optional*, defaults to `False`):
            Whether each S4D layer has a second kernel that runs from the end to the start.
        ssm_backend (`str`, *optional*, defaults to `"auto"`):
            How the state space convolution is computed: `"fft"`, `"chunked"` (matrix products), `"recurrent"` (one
            position at a time), or `"auto"`, the fastest of them for the device, batch and length. All give the same
            numbers.
        linear_term (`str`, *optional*):
            What adds up in a sequence head beside the network: `"positions"`, the letter at each position of sequences
            of one length; `"pairs"`, also the letters at each two of `linear_sites`; or `"words"`, counts of short
            words.
        linear_length (`int`, *optional*):
            Length of the sequences, for `"positions"` and `"pairs"`; others are refused.
        linear_sites (`list[int]`, *optional*):
            Positions, from 0, whose pairs count, for `"pairs"`.
        global_epistasis (`str`, *optional*):
            Curve through which a sequence head passes the sum of linear term and network, one per output: `"free"` or
            `"monotone"`.
        extra_features (`list[str]`, *optional*):
            Names of numbers beside each sequence, such as a temperature, that a sequence head reads out, too.
        extra_means, extra_stds (`list[float]`, *optional*):
            Mean and standard deviation of each of them in the training data, by which they are standardised.
        reverse_complement (`bool` or `str`, *optional*, defaults to `False`):
            Of DNA, whether both strands count the same: training reads a random strand of each sequence, evaluation
            averages what both give, positions back in the order of the input. `"train"` or `"predict"` do only one of
            them.
        label_mean, label_std (`float` or `list[float]`, *optional*):
            Mean and standard deviation of the training labels, one per output of a regression. The loss is taken on
            standardised labels, and the logits are in label units.
        label_quantiles (`list[float]`, or one such list per output, *optional*):
            Quantiles of the training labels at the probabilities (i + 1/2) / count: the loss is then taken on the
            labels' normal scores, i.e. ranks mapped to standard normal quantiles, or with `label_mean` and `label_std`
            on the means of normal scores and standardised labels. The logits stay in label units.
        class_weights (`list[float]`, *optional*):
            Weight of each class in the loss; of a multi-label task, weight of each label's ones against its zeros.
        calibration (`dict`, *optional*):
            How far the labels of rows that the model did not learn from were from their predictions, for the intervals
            of `lyra predict --interval`.
        ensemble_size (`int`, *optional*, defaults to 1):
            Number of members of an ensemble, see [`LyraForSequenceClassification`].
        training_data (`dict`, *optional*):
            What `lyra train` learned from, so that `lyra predict` reads the same: `columns`, the names of the columns
            of sequences, `letters`, the letters in them, and `lengths`, the smallest and the largest.

    Raises:
        ValueError: naming the field whose value makes no model.

    Example:

    ```python
    >>> from lyra import LyraConfig, LyraForSequenceClassification

    >>> model = LyraForSequenceClassification(LyraConfig(num_labels=1))
    >>> model.num_parameters()
    47169
    ```
    """

    model_type = "lyra"
    keys_to_ignore_at_inference = ["hidden_states", "std", "latents"]
    attribute_map = {
        "d_model": "hidden_size",
        "d_state": "state_size",
        "num_s4_layers": "num_hidden_layers",
        "dropout": "hidden_dropout_prob",
        "pool": "pooling",
    }

    alphabet: str = "protein"
    input_size: int | None = None
    hidden_size: int = 64
    state_size: int = 64
    num_hidden_layers: int = 1
    pgc_expansion_factors: list[int | float] | tuple[int | float, ...] = (0.25, 2.0)
    pgc_kernel_size: int = 3
    pgc_residual: bool = False
    final_norm: bool = False
    time_step_min: int | float = 0.001
    time_step_max: int | float = 0.1
    hidden_dropout_prob: int | float = 0.2
    classifier_dropout: int | float = 0.0
    rms_norm_eps: int | float = 1e-8
    pooling: str = "mean"
    bidirectional: bool = False
    ssm_backend: str = "auto"
    linear_term: str | None = None
    linear_length: int | None = None
    linear_sites: list[int] | tuple[int, ...] | None = None
    global_epistasis: str | None = None
    extra_features: list[str] | tuple[str, ...] | None = None
    extra_means: list[int | float] | tuple[int | float, ...] | None = None
    extra_stds: list[int | float] | tuple[int | float, ...] | None = None
    reverse_complement: bool | str = False
    label_mean: int | float | list[int | float] | tuple[int | float, ...] | None = None
    label_std: int | float | list[int | float] | tuple[int | float, ...] | None = None
    label_quantiles: list[int | float] | list[list[int | float]] | None = None
    class_weights: list[int | float] | tuple[int | float, ...] | None = None
    calibration: dict | None = None
    ensemble_size: int = 1
    training_data: dict | None = None
    # Follow from the alphabet; fields because other libraries read them, checked because weights depend on them.
    vocab_size: int | None = None
    pad_token_id: int | None = None
    unk_token_id: int | None = None
    mask_token_id: int | None = None

    def __post_init__(self, **kwargs):
        tokens = get_alphabet(self.alphabet).tokens
        derived = {
            "vocab_size": len(tokens),
            "pad_token_id": tokens.index(PAD_TOKEN),
            "unk_token_id": tokens.index(UNK_TOKEN),
            "mask_token_id": tokens.index(MASK_TOKEN),
        }
        for name, value in derived.items():
            if getattr(self, name) not in (None, value):
                raise ValueError(f"`{name}` is {value} for alphabet {self.alphabet!r}, got {getattr(self, name)}")
            setattr(self, name, value)
        self.pgc_expansion_factors = list(self.pgc_expansion_factors)
        labels = kwargs.get("num_labels")  # each gets a name at once, so that a damaged number would fill the memory
        usable = labels is None or (isinstance(labels, int) and 1 <= labels <= _MOST_LABELS)
        _require(usable, "num_labels", f"a number from 1 to {_MOST_LABELS}", labels)
        kwargs.pop("auto_map", None)  # a copy loaded from the Hub names its repository; a saved one must not
        self.auto_map = dict(AUTO_MAP)
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs):
        """As in transformers; another number of labels than the saved one is another task, so the problem type and
        the label scale of the saved one do not carry over."""
        saved, wanted = config_dict.get("id2label"), kwargs.get("id2label")
        count = kwargs.get("num_labels", len(wanted) if wanted else None)
        if saved is not None and count not in (None, len(saved)):
            dropped = ("problem_type", *LABEL_FIELDS, *LINEAR_FIELDS, *EXTRA_FIELDS)
            config_dict = {key: value for key, value in config_dict.items() if key not in dropped}
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def two_way(cls, **kwargs) -> "LyraConfig":
        """What `lyra train` builds: two bidirectional S4D layers, the mean and the last position side by side.

        Args:
            kwargs: any field of [`LyraConfig`], over the preset's value.
        """
        return cls._with_preset({"bidirectional": True, "num_hidden_layers": 2, "pooling": "mean_last"}, kwargs)

    @classmethod
    def deep(cls, **kwargs) -> "LyraConfig":
        """The deeper variant: residual PGCs of expansion 1, four S4D layers, a final norm, dropout at the read-out.

        Where to start: 64 channels, state 64 and 4 layers up to some 500 residues and for nucleotides; 128 channels,
        state 128 and 6 layers above.

        Args:
            kwargs: any field of [`LyraConfig`], over the preset's value.
        """
        preset = {
            "pgc_expansion_factors": [1.0, 1.0],
            "pgc_residual": True,
            "num_hidden_layers": 4,
            "final_norm": True,
            "classifier_dropout": 0.2,
        }
        return cls._with_preset(preset, kwargs)

    @classmethod
    def _with_preset(cls, preset: dict[str, Any], fields: dict[str, Any]) -> "LyraConfig":
        """A config of both, of which the fields count more, also under their other names."""
        names = {alias: name for alias, name in cls.attribute_map.items() if alias in fields}
        return cls(**preset | {names.get(key, key): value for key, value in fields.items()})

    @classmethod
    def for_features(
        cls,
        d_input: int = 20,
        d_model: int = 64,
        d_output: int = 1,
        num_pgc_layers: int = 2,
        num_s4_layers: int = 4,
        d_state: int = 64,
        dropout: float = 0.2,
        pool: str = "mean",
        **kwargs,
    ) -> "LyraConfig":
        """The deeper variant ([`LyraConfig.deep`]) for float features instead of letters, under the names of [`Lyra`].

        Args:
            d_input: features per position, 20 for one-hot amino acids.
            d_model: channels.
            d_output: outputs.
            num_pgc_layers: residual projected gated convolutions of expansion 1.
            num_s4_layers: S4D layers.
            d_state: state size of each channel.
            dropout: probability inside the S4D layers and before the read-out.
            pool: see `pooling`.
            kwargs: any other field of [`LyraConfig`].

        Raises:
            TypeError: for a keyword that is none of these.
        """
        if unknown := set(kwargs) - set(cls.__dataclass_fields__):
            raise TypeError(f"unexpected keyword {sorted(unknown)[0]!r}")
        letters = len(get_alphabet(kwargs.get("alphabet", cls.alphabet)).letters)
        sizes = {
            "input_size": None if d_input == letters else d_input,
            "hidden_size": d_model,
            "num_labels": d_output,
            "pgc_expansion_factors": [1.0] * num_pgc_layers,
            "num_hidden_layers": num_s4_layers,
            "state_size": d_state,
            "hidden_dropout_prob": dropout,
            "classifier_dropout": dropout,
            "pooling": pool,
        }
        return cls.deep(**sizes | kwargs)

    def validate_architecture(self):
        """Part of `@strict`-powered validation: every error names its field, what it must be and what it is."""
        get_alphabet(self.alphabet)
        for name in ("hidden_size", "num_hidden_layers", "state_size", "pgc_kernel_size", "ensemble_size"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        _require(self.input_size is None or self.input_size >= 1, "input_size", "at least 1", self.input_size)
        _require(self.state_size % 2 == 0, "state_size", "even (conjugate pairs)", self.state_size)
        _require(self.pgc_kernel_size % 2 == 1, "pgc_kernel_size", "odd", self.pgc_kernel_size)
        for factor in self.pgc_expansion_factors:
            channels = float(factor * self.hidden_size)
            _require(
                channels >= 1 and channels.is_integer(),
                "pgc_expansion_factors",
                f"factors that make a whole number of channels of `hidden_size` {self.hidden_size}",
                self.pgc_expansion_factors,
            )
        _require(
            0 < self.time_step_min <= self.time_step_max,
            "time_step_min",
            "positive and at most `time_step_max`",
            (self.time_step_min, self.time_step_max),
        )
        for name in ("hidden_dropout_prob", "classifier_dropout"):
            _require(0 <= getattr(self, name) < 1, name, "in [0, 1)", getattr(self, name))
        _require(self.rms_norm_eps > 0, "rms_norm_eps", "positive", self.rms_norm_eps)
        backends = ("auto", *SSM_BACKENDS)
        _require(self.pooling in POOLINGS, "pooling", f"one of {tuple(POOLINGS)}", self.pooling)
        _require(self.ssm_backend in backends, "ssm_backend", f"one of {backends}", self.ssm_backend)
        strands = self.reverse_complement
        _require(strands in MODES, "reverse_complement", f"one of {tuple(MODES)}", strands)
        usable = self.input_size is None and has_complements(self.alphabet)
        _require(not strands or usable, "reverse_complement", f"False for alphabet {self.alphabet!r}", strands)
        self._validate_linear_term()
        self._validate_extra_features()
        self._validate_label_scale()
        self._validate_label_quantiles()
        if self.class_weights is not None:
            usable = all(0 < weight < float("inf") for weight in self.class_weights)
            usable = usable and len(self.class_weights) == self.num_labels
            _require(usable, "class_weights", f"a positive number per label ({self.num_labels})", self.class_weights)

    def _validate_linear_term(self):
        term, length, sites = self.linear_term, self.linear_length, self.linear_sites
        _require(term in (None, *LINEAR_TERMS), "linear_term", f"one of {(None, *LINEAR_TERMS)}", term)
        curve = self.global_epistasis
        _require(curve in (None, *CURVES), "global_epistasis", f"one of {(None, *CURVES)}", curve)
        if term in ("positions", "pairs"):
            _require(length is not None and length >= 1, "linear_length", "at least 1", length)
        if term == "pairs":
            places = list(sites or [])
            usable = len(places) > 1 and places == sorted(set(places)) and places[0] >= 0 and places[-1] < (length or 0)
            _require(usable, "linear_sites", f"two positions or more below {length}, ascending", sites)
        _require(term != "words" or self.input_size is None, "linear_term", "of letters, with `input_size`", term)

    def _validate_extra_features(self):
        names = self.extra_features
        _require(names is None or len(names) > 0, "extra_features", "names, or None", names)
        for field in ("extra_means", "extra_stds"):
            values = getattr(self, field)
            _require((values is None) == (names is None), field, "given together with `extra_features`", values)
            if values is not None and names is not None:
                finite = len(values) == len(names) and all(abs(value) < float("inf") for value in values)
                _require(finite, field, f"a finite number for each of `extra_features` ({len(names)})", values)
        positive = all(std > 0 for std in self.extra_stds or ())
        _require(positive, "extra_stds", "positive", self.extra_stds)

    def _validate_label_scale(self):
        _require(
            (self.label_mean is None) == (self.label_std is None),
            "label_std",
            "given together with `label_mean`",
            self.label_std,
        )
        if self.label_std is None:
            return
        stds = self.label_std if isinstance(self.label_std, (list, tuple)) else [self.label_std]
        means = self.label_mean if isinstance(self.label_mean, (list, tuple)) else [self.label_mean or 0.0]
        _require(all(0 < std < float("inf") for std in stds), "label_std", "positive and finite", self.label_std)
        _require(all(abs(mean) < float("inf") for mean in means), "label_mean", "finite", self.label_mean)
        if self.problem_type == "regression":
            for name in ("label_mean", "label_std"):
                value = getattr(self, name)
                length = len(value) if isinstance(value, (list, tuple)) else 1
                _require(length in (1, self.num_labels), name, f"one number per label ({self.num_labels})", value)

    def _validate_label_quantiles(self):
        if self.label_quantiles is None:
            return
        name, quantiles = "label_quantiles", self.label_quantiles
        _require(bool(quantiles), name, "quantiles of the labels", quantiles)
        outputs = quantiles if isinstance(quantiles[0], (list, tuple)) else [quantiles]
        _require(len(outputs) in (1, self.num_labels), name, f"a list per label ({self.num_labels})", len(outputs))
        for values in outputs:
            finite = len(values) == len(outputs[0]) > 1 and all(abs(value) < float("inf") for value in values)
            ascending = finite and list(values) == sorted(values) and values[0] < values[-1]
            _require(ascending, name, "finite, ascending and as many for each label", values)


def _require(condition: bool, name: str, expected: str, value) -> None:
    if not condition:
        raise ValueError(f"`{name}` must be {expected}, got {value!r}")


LyraConfig.register_for_auto_class()

__all__ = ["LyraConfig"]
