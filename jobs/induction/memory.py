"""Predicted bytes of a problem's arrays, and of the reference implementation's dictionaries for comparison."""

from __future__ import annotations

from collections.abc import Sequence

from .world import World

LIBRARIES, KERNELS = 100_000_000, 60_000_000
LOOKUP_BYTES = 12
STORAGE_BYTES = {"float64": 8, "float32": 4, "float16": 2}
HEAP_OVERHEAD = 2.5
REFERENCE_BYTES = {"states": 750, "transitions": 8200, "human policies": 7100, "V values": 3900}
REFERENCE_ATTAINMENT = 82


def predicted_bytes(
    world: World,
    level_sizes: Sequence[int],
    *,
    n_exception_outcomes: int = 0,
    storage_dtype: str = "float64",
    keep_policies: str = "robot",
    spills: bool = False,
    row_chunk: int = 65536,
) -> dict[str, int]:
    """Return bytes by structure: keys, human cells, transitions, value levels, policies, kept levels, total.

    Args:
        world: the world.
        level_sizes: N_t for t = 0..T.
        n_exception_outcomes: outcomes of profiles that have several.
        storage_dtype, keep_policies, row_chunk: as for `solve`.
        spills: transitions and levels are in a store; then only a chunk of each is in memory.
    """
    n_humans, n_goals, n_robots = len(world.humans), len(world.goals), world.n_robot_profiles
    value_bytes = STORAGE_BYTES[storage_dtype]
    n_configs, n_expanded = level_sizes[-1], level_sizes[-2]
    transition_rows = min(row_chunk, n_expanded) if spills else n_expanded
    kept_states = min(row_chunk, n_expanded) if spills else sum(level_sizes[:-1])
    policies = 0 if keep_policies == "none" else 8 * (2 * n_robots + n_humans * world.n_actions)
    if keep_policies == "all":
        policies += 8 * n_humans * n_goals * world.n_actions
    parts = {
        "keys": n_configs * (8 * world.packing.n_words + LOOKUP_BYTES),
        "human cells": 2 * n_humans * n_configs,
        "transitions": 4 * world.n_profiles * transition_rows + 12 * n_exception_outcomes,
        "value levels": 2 * (2 * n_humans * n_goals * 8 + 8) * n_configs,
        "kept values": kept_states * (2 * n_humans * n_goals * value_bytes + 8 * (1 + n_humans)),
        "kept policies": kept_states * policies,
        "libraries": LIBRARIES,
        "kernels": KERNELS,
    }
    return parts | {"total": sum(parts.values())}


def reference_bytes(world: World, n_states: int) -> dict[str, int]:
    """Return bytes by structure of the dictionary-based method, in its own accounting, heap overhead included."""
    per_state = REFERENCE_BYTES | {"attainment cache": REFERENCE_ATTAINMENT * world.n_profiles * len(world.goals)}
    parts = {name: int(HEAP_OVERHEAD * size * n_states) for name, size in per_state.items()}
    return parts | {"total": sum(parts.values())}


def largest_horizon(
    world: World,
    level_sizes: Sequence[int],
    limit: int,
    *,
    storage_dtype: str = "float64",
    keep_policies: str = "robot",
    spills: bool = True,
    row_chunk: int = 65536,
) -> int:
    """Return the largest horizon whose prediction is within `limit` bytes, 0 if none is; arguments as above."""
    fits = 0
    for horizon in range(1, len(level_sizes)):
        need = predicted_bytes(
            world,
            level_sizes[: horizon + 1],
            storage_dtype=storage_dtype,
            keep_policies=keep_policies,
            spills=spills,
            row_chunk=row_chunk,
        )
        if need["total"] > limit:
            break
        fits = horizon
    return fits
