"""Registers Lyra with transformers' Auto classes when those are imported, before or after `lyra`.

Importing transformers takes seconds, so `import lyra` does not. A class is registered as soon as its own module and
that of the Auto class have been executed; the second imports the first.
"""

import importlib
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple


class _Registration(NamedTuple):
    """What to do when two modules are ready."""

    auto: str
    own: str
    register: Callable[[ModuleType, ModuleType], None]


def _register_config(auto: ModuleType, own: ModuleType) -> None:
    auto.AutoConfig.register(own.LyraConfig.model_type, own.LyraConfig)


def _register_models(auto: ModuleType, own: ModuleType) -> None:
    for name, reference in own.LyraConfig().auto_map.items():
        if name.startswith("AutoModel"):
            getattr(auto, name).register(own.LyraConfig, getattr(own, reference.rpartition(".")[2]))


def _register_tokenizer(auto: ModuleType, own: ModuleType) -> None:
    from .configuration_lyra import LyraConfig

    auto.AutoTokenizer.register(LyraConfig, fast_tokenizer_class=own.LyraTokenizer)


_AUTO = "transformers.models.auto."
_REGISTRATIONS = (
    _Registration(f"{_AUTO}configuration_auto", f"{__package__}.configuration_lyra", _register_config),
    _Registration(f"{_AUTO}modeling_auto", f"{__package__}.modeling_lyra", _register_models),
    _Registration(f"{_AUTO}tokenization_auto", f"{__package__}.tokenization_lyra", _register_tokenizer),
)
_executed: set[str] = set()


def register_auto_classes() -> None:
    """Registers what is imported already, and from now on what is imported later."""
    sys.meta_path.insert(0, _AfterImport())
    for registration in _REGISTRATIONS:
        for name in (registration.auto, registration.own):
            if name in sys.modules and not getattr(sys.modules[name].__spec__, "_initializing", False):
                _after(name)


def _after(name: str) -> None:
    """Called when a module has been executed."""
    _executed.add(name)
    for auto, own, register in _REGISTRATIONS:
        if name in (auto, own) and {auto, own} <= _executed:
            register(sys.modules[auto], sys.modules[own])
        elif name == auto and own not in sys.modules:
            importlib.import_module(own)


class _AfterImport(MetaPathFinder):
    """Finds these modules as Python does, with a loader that calls `_after`."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not any(fullname in (registration.auto, registration.own) for registration in _REGISTRATIONS):
            return None
        finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path if finder is not self)
        specs = (find(fullname, path, target) for find in finders if find is not None)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _CallAfter(spec.loader, fullname)
        return spec


class _CallAfter(Loader):
    """Another loader, and a call of `_after` when it has executed the module."""

    def __init__(self, loader: Loader, name: str):
        self._loader, self._name = loader, name

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _after(self._name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
