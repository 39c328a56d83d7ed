"""A user's own plots: a function that the config names as `module:function`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def plugin(name: str) -> Callable[..., Any]:
    """Return the function of a module, which is looked for in the working directory, too; it may raise anything.

    Raises:
        ImportError: there is no such module.
        AttributeError: the module has no such function.
    """
    module, _, function = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(import_module(module), function)
    finally:
        sys.path.pop(0)
