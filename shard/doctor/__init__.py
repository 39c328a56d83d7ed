"""Is this place fit for a run: file system, locks, scheduler, container, packages, each with advice."""

from .record import Check, Level, fail, passed, warn

__all__ = ["Check", "Level", "fail", "passed", "warn"]
