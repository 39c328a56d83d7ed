"""The one way in which this study's kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from ..kernel_cache import cache_for

HERE = Path(__file__).parent
CACHE = cache_for((HERE / "compilation.py", *sorted(HERE.glob("*_kernel.py"))))


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a part of a kernel: IEEE results and fused multiply-add, callable without the lock.

    Contraction is the only freedom given to the compiler: it changes bits between kinds of CPU, never between two
    runs on one.
    """
    return numba.njit(error_model="numpy", boundscheck=False, nogil=True, fastmath={"contract"})(function)


def compiled_entry(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls; its machine code is kept on disk between processes."""
    dispatcher = compiled(function)
    dispatcher._cache = CACHE(function)
    return dispatcher
