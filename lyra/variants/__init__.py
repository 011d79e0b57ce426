"""What variants of a wild type do: notation, scans, effects and epistasis."""

from ..lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "genome_scan": ("scan_genome",),
        "notation": ("Edit", "WildType"),
        "scanning": ("scan",),
    },
)
