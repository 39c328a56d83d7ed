"""Public names of a package that are loaded from their modules when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def public_names(
    package: str, homes: Mapping[str, Sequence[str]], modules: Sequence[str] = ("reference",)
) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package (PEP 562).

    Args:
        package: its `__name__`.
        homes: public names by the module that defines them.
        modules: modules that are public names themselves.
    """
    module_of = {name: module for module, names in homes.items() for name in names}

    def load(name: str) -> Any:
        """Load a public name from its module.

        Raises:
            AttributeError: the package has no such name.
        """
        if name in modules:
            return import_module(f".{name}", package)
        if name not in module_of:
            raise AttributeError(f"module {package} has no attribute {name!r}")
        value = getattr(import_module(f".{module_of[name]}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
