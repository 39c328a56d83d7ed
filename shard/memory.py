"""Memory: what a person reads of it in the log, and how large pieces go back to the system."""

from __future__ import annotations

import sys
from pathlib import Path

M_MMAP_THRESHOLD = -3  # mallopt(3)
LARGE_BYTES = 1 << 20


def give_back_large() -> None:
    """Let the C library give arrays of a megabyte and more back to the system when they are freed.

    Left to itself it soon keeps pieces of up to 32 MB for itself, which is faster for work that makes and frees them
    all the time, and lets an element that collects large arrays hold a third more than it needs.  Where the C library
    has no such setting, nothing changes.
    """
    import ctypes

    library = ctypes.CDLL(None)
    for name, arguments in (("mallopt", (M_MMAP_THRESHOLD, LARGE_BYTES)), ("malloc_trim", (0,))):
        call = getattr(library, name, None)
        if call is not None:
            call(*arguments)


def resident_mb() -> float:
    """Return the resident memory of this process now, in MB (its peak where the system does not say)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        from .attempts import peak_rss_mb

        return peak_rss_mb()
    import resource

    return pages * resource.getpagesize() / 1e6


def log_memory(label: str) -> None:
    """Write one line with the resident memory to the log."""
    print(f"[MEMORY] {label}: {resident_mb():.0f} MB", file=sys.stderr)
