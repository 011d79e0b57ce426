"""What to measure next: plates of variants, chosen by a model of what was measured."""

from ..lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "campaign": ("Campaign", "Pick", "Policy"),
        "candidates": ("Pool", "Search", "Sites"),
        "constraints": ("Constraints", "read_constraints"),
        "proposing": ("propose",),
        "simulating": ("simulate_campaign",),
    },
)
