"""Language models behind a simulation: loading, the batched engine, generation, choices and scores."""

from __future__ import annotations

from .core import Backend
from .loading import backend_for, load_backend
from .rows import Choice, Generation, Row

__all__ = ["Backend", "Choice", "Generation", "Row", "backend_for", "load_backend"]
