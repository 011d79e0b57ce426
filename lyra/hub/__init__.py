"""Model cards, and publishing on the Hugging Face Hub."""

from ..lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "card": ("example_sequence", "model_card"),
        "code": ("add_code", "code_sha256"),
        "publish": ("publish", "repository_of"),
    },
)
