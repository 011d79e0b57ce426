"""PCN configuration."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from .features_pcn import FEATURE_SETS, POINT_SETS

POOLINGS = ("mean", "max")

# Written into every checkpoint, so that any Auto class loads from it.
AUTO_MAP = {
    "AutoConfig": "configuration_pcn.PcnConfig",
    "AutoFeatureExtractor": "feature_extraction_pcn.PcnFeatureExtractor",
    "AutoModel": "modeling_pcn.PcnModel",
    # A jet is a sequence of particles in no order, and the output is that of this class.
    "AutoModelForSequenceClassification": "modeling_pcn.PcnForJetClassification",
}


@strict
class PcnConfig(PreTrainedConfig):
    r"""
    Configuration of [`PcnModel`] and [`PcnForJetClassification`]. The defaults are the architecture of the paper
    (Semlani, Relan, Ramesh 2023, arXiv 2309.08630): with ten classes it has 148,298 parameters, with
    `edge_convolutions` 164,938. [`PcnConfig.ours`] gives a smaller variant with other features.

    Args:
        feature_set (`str`, *optional*, defaults to `"raw16"`):
            What is known of each particle, `"raw16"` or `"invariant16"`; see [`PcnFeatureExtractor`].
        point_set (`str`, *optional*, defaults to `"momentum"`):
            The space in which neighbours are near: `"momentum"` (px, py, pz in GeV) or `"angles"` (eta, phi).
        num_neighbors (`int`, *optional*, defaults to 3):
            The nearest particles that each one is connected with, in both directions.
        embedding_sizes (`list[int]`, *optional*, defaults to `()`):
            Channels after each layer of a perceptron of single particles before the first convolution.
        hidden_sizes (`list[int]`, *optional*, defaults to `(64, 64, 64)`):
            Channels after each Chebyshev convolution.
        chebyshev_order (`int`, *optional*, defaults to 16):
            Number K of polynomials, from T_0 to T_{K-1}; 1 knows no neighbours.
        lambda_max (`float`, *optional*, defaults to 2.0):
            What the eigenvalues of the Laplacian are scaled by; 2 is an upper bound of the normalised one.
        edge_convolutions (`bool`, *optional*, defaults to `False`):
            Whether an edge convolution follows every Chebyshev convolution but the last.
        layer_norm (`bool`, *optional*, defaults to `False`):
            Whether every convolution is followed by a layer norm.
        residual (`bool`, *optional*, defaults to `False`):
            Whether a convolution between equal sizes is added to its input.
        pooling (`list[str]`, *optional*, defaults to `("mean",)`):
            How particles become a jet: `"mean"`, `"max"` or both, side by side.
        classifier_sizes (`list[int]`, *optional*, defaults to `()`):
            Channels after each hidden layer of the read-out, which without them is linear.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.0):
            Dropout of the jet's vector.
    """

    model_type = "pcn"

    feature_set: str = "raw16"
    point_set: str = "momentum"
    num_neighbors: int = 3
    embedding_sizes: list[int] | tuple[int, ...] = ()
    hidden_sizes: list[int] | tuple[int, ...] = (64, 64, 64)
    chebyshev_order: int = 16
    lambda_max: float = 2.0
    edge_convolutions: bool = False
    layer_norm: bool = False
    residual: bool = False
    pooling: list[str] | tuple[str, ...] = ("mean",)
    classifier_sizes: list[int] | tuple[int, ...] = ()
    hidden_dropout_prob: float = 0.0

    def __post_init__(self, **kwargs: Any):
        kwargs.pop("auto_map", None)  # a copy loaded from the Hub names its repository; a saved one must not
        self.auto_map = dict(AUTO_MAP)
        super().__post_init__(**kwargs)

    @property
    def input_size(self) -> int:
        """Features of each particle."""
        return len(FEATURE_SETS[self.feature_set])

    @property
    def point_size(self) -> int:
        """Dimensions of the space of neighbours."""
        return len(POINT_SETS[self.point_set])

    @classmethod
    def ours(cls, **fields: Any) -> "PcnConfig":
        """Features that do not change under rotation about the beam, neighbours in (eta, phi), a perceptron of each
        particle before three convolutions of four polynomials with norms, their mean, and a perceptron of it."""
        preset: dict[str, Any] = {"feature_set": "invariant16", "point_set": "angles", "chebyshev_order": 4}
        preset |= {"embedding_sizes": (64, 64), "layer_norm": True, "residual": True, "classifier_sizes": (100,)}
        return cls(**preset | fields)

    def validate_architecture(self) -> None:
        """Called by transformers on every new config."""
        _require(self.feature_set in FEATURE_SETS, "feature_set", f"one of {', '.join(FEATURE_SETS)}", self.feature_set)
        _require(self.point_set in POINT_SETS, "point_set", f"one of {', '.join(POINT_SETS)}", self.point_set)
        for name in ("num_neighbors", "chebyshev_order"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        _require(len(self.hidden_sizes) > 0, "hidden_sizes", "one or more sizes", self.hidden_sizes)
        for name in ("embedding_sizes", "hidden_sizes", "classifier_sizes"):
            sizes = getattr(self, name)
            _require(all(size >= 1 for size in sizes), name, "sizes from 1", sizes)
        _require(self.lambda_max > 0, "lambda_max", "more than 0", self.lambda_max)
        known = bool(self.pooling) and set(self.pooling) <= set(POOLINGS)
        _require(known, "pooling", f"some of {', '.join(POOLINGS)}", self.pooling)
        _require(
            0 <= self.hidden_dropout_prob < 1, "hidden_dropout_prob", "from 0 to below 1", self.hidden_dropout_prob
        )


PRESETS = {
    "published": PcnConfig,
    "published_edges": lambda **fields: PcnConfig(**{"edge_convolutions": True} | fields),
    "ours": PcnConfig.ours,
}


def _require(condition: bool, name: str, expected: str, value: Any) -> None:
    if not condition:
        raise ValueError(f"`{name}`: expected {expected}, got {value!r}")


__all__ = ["PcnConfig"]
