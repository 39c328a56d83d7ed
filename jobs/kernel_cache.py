"""Compiles a study's kernels and keeps their machine code on disk, named by the digest of their sources."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserProvidedCacheLocator


def cache_folders() -> list[Path]:
    """Return where machine code may be kept, best first: the named folder, the user's cache, a temporary one."""
    named = os.environ.get("QUINTET_KERNEL_CACHE")
    home = os.environ.get("HOME")
    fallback = Path(tempfile.gettempdir()) / f"quintet-kernels-{os.getuid()}"
    return [Path(named)] if named else [*([Path(home) / ".cache" / "quintet"] if home else []), fallback]


def cache_for(sources: Iterable[Path]) -> type[FunctionCache]:
    """Return a class of machine-code caches that is valid for these sources only, shared by all copies of them.

    numba looks at the file of the entry function alone; what the entry calls and the constants it bakes in stand
    in other files, so the digest of all of them names the folder and joins the key.
    """
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()

    class SourcesLocator(UserProvidedCacheLocator):  # type: ignore[misc]
        """A folder named by the sources' digest, wherever the sources lie."""

        def __init__(self, py_func: Any, py_file: str) -> None:
            super().__init__(py_func, py_file)
            for folder in cache_folders():
                self._cache_path = str(folder / digest[:16])
                try:
                    self.ensure_cache_path()
                except OSError:
                    continue
                break

        @classmethod
        def from_function(cls, py_func: Any, py_file: str) -> Any:
            """Return a locator for a function, whatever numba's own cache folder is set to."""
            return super(UserProvidedCacheLocator, cls).from_function(py_func, py_file)

    class KernelCacheImpl(CompileResultCacheImpl):  # type: ignore[misc]
        """How compiled functions are stored, in the folder of `SourcesLocator`."""

        _locator_classes = [SourcesLocator, *CompileResultCacheImpl._locator_classes]  # noqa: RUF012

    class KernelCache(FunctionCache):  # type: ignore[misc]
        """Machine code on disk."""

        _impl_class = KernelCacheImpl

        def _index_key(self, sig: Any, codegen: Any) -> Any:
            return (*super()._index_key(sig, codegen), digest)

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            """Return stored machine code; say in the log where there is none for this CPU."""
            found = super().load_overload(sig, target_context)
            if found is None:
                logging.getLogger("quintet").warning(
                    "%s: no machine code for this CPU in %s; compiling it now", self._py_func.__name__, self.cache_path
                )
            return found

    return KernelCache


def compiled(function: Callable[..., Any]) -> Any:
    """Compile with numpy's error model: IEEE results, no exceptions, no fast-math, callable without the lock."""
    return numba.njit(error_model="numpy", boundscheck=False, nogil=True, forceinline=True)(function)


def compiled_entry(function: Callable[..., Any], cache: type[FunctionCache]) -> Any:
    """Compile a function that Python calls; its machine code is kept on disk between processes."""
    dispatcher = compiled(function)
    dispatcher._cache = cache(function)
    return dispatcher
