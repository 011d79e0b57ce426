"""What a model has learned: contributions of letters, motifs, how far it looks."""

from ..lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "attribution": ("Attribution", "Target", "attribute_gradients", "attribute_mutagenesis"),
        "explaining": ("explain",),
        "memory": ("memory_lengths", "responses"),
        "motifs": ("find_motifs",),
    },
)
