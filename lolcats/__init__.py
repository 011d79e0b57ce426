"""LoLCATs (arXiv 2410.10254): linear attention for trained transformers models, decoders and encoders.

Names are imported when they are first used.
"""

from typing import TYPE_CHECKING

from lyra.lazy import lazy_names

if TYPE_CHECKING:  # for type checkers and editors, which do not see names that are made on first use
    from .attention_transfer import TransferArguments as TransferArguments
    from .attention_transfer import transfer as transfer
    from .checkpoints import load as load
    from .checkpoints import save as save
    from .configuration_lolcats import LolcatsConfig as LolcatsConfig
    from .conversion import linearize as linearize
    from .exporting import export as export
    from .finetuning import LoraArguments as LoraArguments
    from .finetuning import finetune as finetune
    from .publishing import publish as publish

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "attention_transfer": ("TransferArguments", "transfer"),
        "checkpoints": ("load", "save"),
        "configuration_lolcats": ("LolcatsConfig",),
        "conversion": ("linearize",),
        "exporting": ("export",),
        "finetuning": ("LoraArguments", "finetune"),
        "publishing": ("publish",),
    },
)
