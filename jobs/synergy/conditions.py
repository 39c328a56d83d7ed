"""Conditions of a sweep: their names, and the canonical order of units."""

from __future__ import annotations

from collections.abc import Sequence

from .data import BASE_SEED, Unit


def scale_text(scale: float) -> str:
    """Return a scale with one decimal if that is exact, else as Python writes it."""
    short = f"{scale:.1f}"
    return short if float(short) == scale else repr(float(scale))


def condition_key(workspace_dim: int, synergy_scale: float) -> str:
    """Return the name of a condition, e.g. `dim_8_scale_1.0`."""
    return f"dim_{workspace_dim}_scale_{scale_text(synergy_scale)}"


def condition_id(workspace_dim: int, synergy_scale: float, run_id: int) -> str:
    """Return the name of a unit, e.g. `dim_8_scale_1.0_run_0`."""
    return f"{condition_key(workspace_dim, synergy_scale)}_run_{run_id}"


def grid(
    dims: Sequence[int], scales: Sequence[float], runs_per_condition: int, base_seed: int = BASE_SEED
) -> list[Unit]:
    """Return all units: dims slowest, then scales, runs fastest; levels ascending, each once.

    A run's seed is base_seed + run_id in every condition, so that conditions are paired by run.
    """
    return [
        Unit(dim, float(scale), run, base_seed + run)
        for dim in sorted(set(dims))
        for scale in sorted(set(scales))
        for run in range(runs_per_condition)
    ]
