"""From a table of sequences and measurements to batches."""

from ..lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "arguments": ("DataArguments",),
        "collator": ("LyraCollator", "pad"),
        "preparation": ("CheckedData", "Prepared", "check", "encode", "prepare"),
        "splits": ("SPLITS",),
        "tables": ("TableWriter", "read_rows"),
    },
)
