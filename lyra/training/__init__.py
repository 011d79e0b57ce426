"""Training: arguments, the Trainer, and the job that makes a checkpoint of a table."""

from ..lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "arguments": ("ModelArguments",),
        "run": ("train",),
        "tuning": ("tune",),
        "trainer": ("LyraTrainer", "LyraTrainingArguments", "parameter_groups"),
    },
)
