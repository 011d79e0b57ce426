"""Registers models with transformers' Auto classes when those are imported, before or after the models' package.

Importing transformers takes seconds, so importing a package does not. A class is registered as soon as its own module
and that of the Auto class have been executed; the second imports the first.
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


class Processor(NamedTuple):
    """What prepares the inputs of a model.

    Attributes:
        kind: `"tokenization"` or `"feature_extraction"`, which begins the names of the modules.
        auto_class: of transformers.
        keyword: of its `register`.
        name: of the class.
    """

    kind: str
    auto_class: str
    keyword: str
    name: str


_AUTO = "transformers.models.auto."
_registrations: list[_Registration] = []
_executed: set[str] = set()


def register_auto_classes(package: str, config_name: str, processor: Processor) -> None:
    """Registers the classes of a package, whose files end in its name as in `modeling_lyra.py`: what is imported
    already, and from now on what is imported later."""

    def config_class() -> Any:
        return getattr(importlib.import_module(f"{package}.configuration_{package}"), config_name)

    def register_config(auto: ModuleType, own: ModuleType) -> None:
        auto.AutoConfig.register(config_class().model_type, config_class())

    def register_models(auto: ModuleType, own: ModuleType) -> None:
        for name, reference in config_class()().auto_map.items():
            if name.startswith("AutoModel"):
                getattr(auto, name).register(config_class(), getattr(own, reference.rpartition(".")[2]))

    def register_processor(auto: ModuleType, own: ModuleType) -> None:
        auto_class = getattr(auto, processor.auto_class)
        auto_class.register(config_class(), **{processor.keyword: getattr(own, processor.name)})

    added = [
        _Registration(f"{_AUTO}{kind}_auto", f"{package}.{kind}_{package}", register)
        for kind, register in (
            ("configuration", register_config),
            ("modeling", register_models),
            (processor.kind, register_processor),
        )
    ]
    if not _registrations:
        sys.meta_path.insert(0, _AfterImport())
    _registrations.extend(added)
    for registration in added:
        for name in (registration.auto, registration.own):
            if name in sys.modules and not getattr(sys.modules[name].__spec__, "_initializing", False):
                _after(name)


def _after(name: str) -> None:
    """Called when a module has been executed."""
    _executed.add(name)
    for auto, own, register in _registrations:
        if name in (auto, own) and {auto, own} <= _executed:
            register(sys.modules[auto], sys.modules[own])
        elif name == auto and own not in sys.modules:
            importlib.import_module(own)


class _AfterImport(MetaPathFinder):
    """Finds these modules as Python does, with a loader that calls `_after`."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not any(fullname in (registration.auto, registration.own) for registration in _registrations):
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
        try:
            _after(self._name)
        except ImportError:  # of two modules that need each other: Python forgets this one, and begins again later
            _executed.discard(self._name)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
