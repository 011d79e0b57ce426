"""Names of a package that are imported when they are first used, so that importing the package costs nothing."""

import importlib
from collections.abc import Callable
from typing import Any


def lazy_names(package: str, modules: dict[str, tuple[str, ...]]) -> tuple[Callable[[str], Any], list[str]]:
    """`__getattr__` and `__all__` of a package.

    Args:
        package: its `__name__`.
        modules: the names that each of its modules gives.
    """
    owners = {name: module for module, names in modules.items() for name in names}

    def get_attribute(name: str) -> Any:
        if name not in owners:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{owners[name]}"), name)

    return get_attribute, sorted(owners)
