"""Predictions and embeddings with a trained model: of tables of any size, and of sequences of any length."""

from ..lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "embedding": ("embed",),
        "loading": ("best_device", "load_model"),
        "logits": ("Predictions", "compute_logits"),
        "prediction": ("predict",),
        "streaming": ("StreamedLogits", "stream"),
    },
)
