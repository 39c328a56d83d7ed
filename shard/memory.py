"""Memory, as a person reads it in the log."""

from __future__ import annotations

import sys
from pathlib import Path


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
