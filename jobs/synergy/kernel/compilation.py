"""The one way in which the kernel is compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from ...kernel_cache import cache_for

HERE = Path(__file__).parent
SOURCES = (*sorted(HERE.glob("*.py")), HERE.parent / "sums.py", HERE.parent / "objective.py")
CACHE = cache_for(SOURCES)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile with numpy's error model: IEEE results, no exceptions, no fast-math, callable without the lock.

    Functions are not forced inline: products are called from many places, and a call is nothing beside a product.
    """
    return numba.njit(error_model="numpy", boundscheck=False, nogil=True)(function)


def compiled_entry(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls; its machine code is kept on disk between processes."""
    dispatcher = compiled(function)
    dispatcher._cache = CACHE(function)
    return dispatcher
