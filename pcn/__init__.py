"""The Particle Chebyshev Network (arXiv 2309.08630): which particle a jet came from.

Names are imported when they are first used. Importing the package registers its classes with transformers' Auto
classes.
"""

from typing import TYPE_CHECKING

from lyra._auto import Processor, register_auto_classes
from lyra.lazy import lazy_names

if TYPE_CHECKING:  # for type checkers and editors, which do not see names that are made on first use
    from .configuration_pcn import PcnConfig as PcnConfig
    from .exporting import export as export
    from .feature_extraction_pcn import PcnFeatureExtractor as PcnFeatureExtractor
    from .inference import load_model as load_model
    from .modeling_pcn import PcnForJetClassification as PcnForJetClassification
    from .modeling_pcn import PcnModel as PcnModel
    from .modeling_pcn import PcnPreTrainedModel as PcnPreTrainedModel
    from .publishing import publish as publish
    from .training import train as train

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "configuration_pcn": ("PcnConfig",),
        "exporting": ("export",),
        "feature_extraction_pcn": ("PcnFeatureExtractor",),
        "inference": ("load_model",),
        "modeling_pcn": ("PcnForJetClassification", "PcnModel", "PcnPreTrainedModel"),
        "publishing": ("publish",),
        "training": ("train",),
    },
)

register_auto_classes(
    __name__,
    "PcnConfig",
    Processor("feature_extraction", "AutoFeatureExtractor", "feature_extractor_class", "PcnFeatureExtractor"),
)
