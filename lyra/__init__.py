"""Lyra (arXiv 2503.16351) for Hugging Face: small models of DNA, RNA and protein sequences.

Importing the package registers its classes with transformers' Auto classes.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from .configuration_lyra import LyraConfig
from .modeling_lyra import (
    Lyra,
    LyraForMaskedLM,
    LyraForSequenceClassification,
    LyraForTokenClassification,
    LyraModel,
    LyraPreTrainedModel,
)
from .tokenization_lyra import LyraTokenizer

__version__ = "0.1.0"

AutoConfig.register(LyraConfig.model_type, LyraConfig)
AutoTokenizer.register(LyraConfig, fast_tokenizer_class=LyraTokenizer)
AutoModel.register(LyraConfig, LyraModel)
AutoModelForMaskedLM.register(LyraConfig, LyraForMaskedLM)
AutoModelForSequenceClassification.register(LyraConfig, LyraForSequenceClassification)
AutoModelForTokenClassification.register(LyraConfig, LyraForTokenClassification)

__all__ = [
    "Lyra",
    "LyraConfig",
    "LyraForMaskedLM",
    "LyraForSequenceClassification",
    "LyraForTokenClassification",
    "LyraModel",
    "LyraPreTrainedModel",
    "LyraTokenizer",
]
