"""The one way in which the kernel is compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

HERE = Path(__file__).parent
SOURCES = (*sorted(HERE.glob("*.py")), HERE.parent / "octants.py", HERE.parent / "params.py")
SOURCES_DIGEST = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()


class KernelCache(FunctionCache):  # type: ignore[misc]
    """Machine code on disk that is valid for these sources only.

    numba looks at the file of the entry function alone; what the entry calls and the constants it bakes in stand
    in other files, so their digest joins the key.
    """

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), SOURCES_DIGEST)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile with numpy's error model: IEEE results, no exceptions, no fast-math, callable without the lock."""
    return numba.njit(error_model="numpy", boundscheck=False, nogil=True, forceinline=True)(function)


def compiled_entry(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls; its machine code is kept on disk between processes."""
    dispatcher = compiled(function)
    dispatcher._cache = KernelCache(function)
    return dispatcher
