"""Lyra (arXiv 2503.16351) for Hugging Face: small models of DNA, RNA and protein sequences.

Names are imported when they are first used. Importing the package registers its classes with transformers' Auto
classes.
"""

from ._auto import register_auto_classes
from .lazy import lazy_names

__version__ = "0.1.0"

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "configuration_lyra": ("LyraConfig",),
        "modeling_lyra": (
            "Lyra",
            "LyraForMaskedLM",
            "LyraForSequenceClassification",
            "LyraForTokenClassification",
            "LyraModel",
            "LyraPreTrainedModel",
        ),
        "tokenization_lyra": ("LyraTokenizer",),
    },
)

register_auto_classes()
