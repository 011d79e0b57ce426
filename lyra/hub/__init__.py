"""Model cards, and publishing on the Hugging Face Hub."""

from ..lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "card": ("example_sequences", "model_card"),
        "code": ("build_artifact", "code_sha256"),
        "publishing": ("publish",),
        "spaces": ("publish_space",),
        "uploading": ("repository_of", "upload"),
    },
)
