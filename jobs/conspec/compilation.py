"""The one way in which this study's kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numba

from ..kernel_cache import cache_for

HERE = Path(__file__).parent
CACHE = cache_for((HERE / "compilation.py", *sorted(HERE.glob("*_kernel.py"))))


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a part of a kernel: IEEE results and fused multiply-add, callable without the lock.

    Contraction is the only freedom given to the compiler: it changes bits between kinds of CPU, never between two
    runs on one.
    """
    return _jit(inline="never")(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile as `compiled` does, into the callers: a call would count references to each array it is given.

    For short functions that multiply no floats: contraction across calls would change their callers' bits.
    """
    return _jit(inline="always")(function)


def _jit(inline: Literal["never", "always"]) -> Any:
    return numba.njit(inline=inline, error_model="numpy", boundscheck=False, nogil=True, fastmath={"contract"})


def compiled_entry(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls; its machine code is kept on disk between processes."""
    dispatcher = compiled(function)
    dispatcher._cache = CACHE(function)
    return dispatcher
