"""What is made linear, and how."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lyra.errors import InputError
from lyra.files import read_json, write_json

CONFIG_FILE = "lolcats_config.json"


@dataclass
class LolcatsConfig:
    """Settings of [`linearize`], and in a checkpoint what it found.

    Args:
        window: keys that a query sees by their exponentials: the last `window` of a decoder, `window - 1` on each side
            of an encoder. The longer, the closer to the model; time and a decoder's memory grow with it.
        feature_size: f of the feature maps, which have 2f features; by default the size of a head, at least 64.
        layers: "all" attention layers, or the numbers of some, from 0 in the order of the model. The others stay.
        attention: of each layer made linear, by its name in the model, the arguments of [`LolcatsAttention`]; filled in
            by [`linearize`].
        base_model: Hub id or folder of the model; filled in by [`linearize`].
        base_revision: commit of it on the Hub.

    Raises:
        InputError: for a size below 1.
    """

    window: int = 64
    feature_size: int | None = None
    layers: str | list[int] = "all"
    attention: dict[str, dict[str, Any]] = field(default_factory=dict)
    base_model: str | None = None
    base_revision: str | None = None

    def __post_init__(self) -> None:
        for name in ("window", "feature_size"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"{name}: expected an integer from 1, got {value!r}")
        if not isinstance(self.attention, dict):
            raise InputError(f"attention: expected sizes by the names of modules, got {self.attention!r}")
        numbers = self.layers if isinstance(self.layers, list) else []
        if self.layers != "all" and not (numbers and all(isinstance(n, int) and n >= 0 for n in numbers)):
            raise InputError(f"layers: expected 'all' or a list of numbers from 0, got {self.layers!r}")

    @property
    def is_causal(self) -> bool:
        """Whether the model is a decoder."""
        return any(each["causal"] for each in self.attention.values())

    def save(self, folder: Path) -> None:
        write_json(folder / CONFIG_FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "LolcatsConfig":
        """Raises InputError if the folder has no such file, or a damaged one."""
        file = folder / CONFIG_FILE
        if not file.is_file():
            raise InputError(f"{folder}: expected a folder with {CONFIG_FILE}, which `lolcats transfer` writes")
        try:
            return cls(**read_json(file))
        except TypeError as error:
            raise InputError(f"{file}: damaged ({error})") from None
