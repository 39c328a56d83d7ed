"""The one way in which the kernel is compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...kernel_cache import cache_for, compiled
from ...kernel_cache import compiled_entry as cached_entry

HERE = Path(__file__).parent
STUDY = HERE.parent
SOURCES = (*sorted(HERE.glob("*.py")), *sorted(STUDY.glob("*_kernel.py")), STUDY / "octants.py", STUDY / "params.py")
CACHE = cache_for(SOURCES)

__all__ = ["compiled", "compiled_entry"]


def compiled_entry(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls; its machine code is kept on disk between processes."""
    return cached_entry(function, CACHE)
