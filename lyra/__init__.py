"""Lyra (arXiv 2503.16351) for Hugging Face: small models of DNA, RNA and protein sequences.

Names are imported when they are first used. Importing the package registers its classes with transformers' Auto
classes.
"""

from typing import TYPE_CHECKING

from ._auto import Processor, register_auto_classes
from .lazy import lazy_names

if TYPE_CHECKING:  # for type checkers and editors, which do not see names that are made on first use
    from .configuration_lyra import LyraConfig as LyraConfig
    from .modeling_lyra import Lyra as Lyra
    from .modeling_lyra import LyraForMaskedLM as LyraForMaskedLM
    from .modeling_lyra import LyraForSequenceClassification as LyraForSequenceClassification
    from .modeling_lyra import LyraForTokenClassification as LyraForTokenClassification
    from .modeling_lyra import LyraModel as LyraModel
    from .modeling_lyra import LyraPreTrainedModel as LyraPreTrainedModel
    from .pipelines_lyra import LyraTokenPipeline as LyraTokenPipeline
    from .tokenization_lyra import LyraTokenizer as LyraTokenizer

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_names(
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
        "pipelines_lyra": ("LyraTokenPipeline",),
        "tokenization_lyra": ("LyraTokenizer",),
    },
)

register_auto_classes(
    __name__, "LyraConfig", Processor("tokenization", "AutoTokenizer", "fast_tokenizer_class", "LyraTokenizer")
)
