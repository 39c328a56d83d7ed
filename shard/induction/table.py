"""The phases of the modes solve and sweep, and the arrays of their partials.

In a run of several worlds arrays are as wide as the largest world's; what a smaller one leaves free is NaN (0 in
integers). `stored_dtype` gives the widest of the storage types that problems ask for, which holds the others exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...jobs.induction.config import THEORY, Config
from ...jobs.induction.memory import STORAGE_BYTES, predicted_bytes
from ...jobs.induction.samples import DRAWN, has_devices
from ..phases import Dataset, Phase, Resources, Stats
from .worlds import cases, thawed

SOLVE_READS = ("problems", "grid", "world_of", "max_steps", *THEORY, "storage_dtype", "keep_policies")
STRUCTURES = (
    "keys",
    "human cells",
    "transitions",
    "value levels",
    "kept values",
    "kept policies",
    "libraries",
    "kernels",
    "total",
)
"""Rows of the memory table."""

TIMING = ("level", "rows", "user_s", "wall_s", "rss_mb")
"""Columns of the timing table; level T stands for reading the graph, -1 for what follows the last level."""

SWEEP_BLOCK = 32
SAMPLE_SECONDS = 0.08
CPU_S_PER_STATE = 1.2e-5


@dataclass(frozen=True)
class Shape:
    """Sizes of the widest world of a run: humans, goals, actions, robot profiles, profiles, words of a key."""

    humans: int
    goals: int
    actions: int
    robots: int
    profiles: int
    words: int


def shape_of(config: Config) -> Shape:
    """Return the sizes that the arrays of a run have."""
    worlds = [thawed(frozen) for frozen in config.worlds]
    return Shape(
        humans=max(len(world.humans) for world in worlds),
        goals=max(len(world.goals) for world in worlds),
        actions=max(world.n_actions for world in worlds),
        robots=max(world.n_robot_profiles for world in worlds),
        profiles=max(world.n_profiles for world in worlds),
        words=max(world.packing.n_words for world in worlds),
    )


def indexed(name: str, dtype: str, *shape: int) -> Dataset:
    """Return a ragged dataset that stays in the partials."""
    return Dataset(name, dtype, shape, ragged=True, merge="index")


def ragged(name: str, dtype: str, *shape: int) -> Dataset:
    """Return a ragged dataset that the result holds."""
    return Dataset(name, dtype, shape, ragged=True)


def key_shape(shape: Shape) -> tuple[int, ...]:
    """Return the shape of one packed configuration: one word, or several."""
    return () if shape.words == 1 else (shape.words,)


def transition_datasets(shape: Shape) -> tuple[Dataset, ...]:
    """Return the arrays of transitions."""
    return (
        indexed("rows/trans/succ", "i4", shape.profiles),
        indexed("rows/trans/exc_ptr", "i8"),
        indexed("rows/trans/exc_succ", "i4"),
        indexed("rows/trans/exc_prob", "f8"),
    )


def build_datasets(shape: Shape) -> tuple[Dataset, ...]:
    """Return what the phase build holds."""
    return (
        ragged("rows/world", "u1"),
        ragged("rows/goals", "i2", 4),
        ragged("rows/goal_weights", "f8"),
        indexed("rows/attained", "?", shape.goals),
        indexed("rows/config/key", "u8", *key_shape(shape)),
        ragged("rows/config/depth_offsets", "i8"),
        indexed("rows/config/human_cell", "u2", shape.humans),
        Dataset("rows/n_outcomes", "i8"),
        *transition_datasets(shape),
        Dataset("meta/user_s", "f8"),
        Dataset("meta/rss_mb", "f8"),
    )


def root_datasets(shape: Shape, prefix: str) -> tuple[Dataset, ...]:
    """Return the tables of the root; item k - 1 is with k steps to go."""
    humans, goals, actions, robots = shape.humans, shape.goals, shape.actions, shape.robots
    return (
        ragged(f"{prefix}/Vm", "f8", humans, goals),
        ragged(f"{prefix}/Ve", "f8", humans, goals),
        ragged(f"{prefix}/Vr", "f8"),
        ragged(f"{prefix}/Xh", "f8", humans),
        ragged(f"{prefix}/Qr", "f8", robots),
        ragged(f"{prefix}/pi_r", "f8", robots),
        ragged(f"{prefix}/m_h", "f8", humans, actions),
        ragged(f"{prefix}/first", "f8", humans + 2),
        ragged(f"{prefix}/disabled", "f8", 2),
    )


def kept_values(shape: Shape, stored: str, keep: str) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
    """Return name, dtype and shape of what is kept of a level."""
    humans, goals, actions, robots = shape.humans, shape.goals, shape.actions, shape.robots
    values: tuple[tuple[str, str, tuple[int, ...]], ...] = (
        ("Vm", stored, (humans, goals)),
        ("Ve", stored, (humans, goals)),
        ("Vr", "f8", ()),
        ("Xh", "f8", (humans,)),
    )
    if keep != "none":
        values += (("Qr", "f8", (robots,)), ("pi_r", "f8", (robots,)))
    if keep == "all":
        values += (("pi_h", "f8", (humans, goals, actions)),)
    return values


def level_datasets(shape: Shape, levels: int, stored: str, keep: str) -> tuple[Dataset, ...]:
    """Return the arrays of levels 0 to levels - 1."""
    return tuple(
        indexed(f"rows/level/{t:04d}/{name}", dtype, *rest)
        for t in range(levels)
        for name, dtype, rest in kept_values(shape, stored, keep)
    )


def stored_dtype(names: list[str]) -> str:
    """Return the widest of some storage types as numpy writes it."""
    return f"f{max(STORAGE_BYTES[name] for name in names)}"


def exact_phases(config: Config) -> tuple[Phase, ...]:
    """Return the phases of modes solve and sweep."""
    return (build_phase(config), sweep_phase(config) if config.mode == "sweep" else solve_phase(config))


def build_phase(config: Config) -> Phase:
    """Return the phase that enumerates the states of every world."""
    return Phase(
        name="build",
        kind="map",
        units=len(config.worlds),
        reads=("worlds", "max_states"),
        inputs=("world",),
        datasets=build_datasets(shape_of(config)),
        resources=Resources(mem_mb=2000, seconds_per_unit=5.0, bytes_per_unit=5e6),
    )


def solve_phase(config: Config) -> Phase:
    """Return the phase that solves every problem."""
    problems = cases(config)
    keeps = [case.settings["keep_policies"] for case in problems]
    keep = next(name for name in ("all", "robot", "none") if name in keeps)
    shape = shape_of(config)
    return Phase(
        name="solve",
        kind="map",
        units=len(problems),
        after=("build",),
        reads=SOLVE_READS,
        datasets=(
            Dataset("rows/status", "i1"),
            ragged("rows/error", "u1"),
            Dataset("rows/max_steps", "i4"),
            Dataset("rows/world_number", "i4"),
            ragged("rows/params", "u1"),
            ragged("rows/level_sizes", "i8"),
            Dataset("rows/memory_predicted", "i8", (len(STRUCTURES),)),
            *root_datasets(shape, "rows/root_by_horizon"),
            *level_datasets(
                shape,
                max(case.max_steps for case in problems),
                stored_dtype([case.settings["storage_dtype"] for case in problems]),
                keep,
            ),
            Dataset("meta/memory_measured", "i8", (len(STRUCTURES),)),
            ragged("meta/timing", "f8", len(TIMING)),
            ragged("meta/memory_steps", "u1"),
        ),
        resources=Resources(mem_mb=2000, seconds_per_unit=5.0, bytes_per_unit=5e7, checkpoint_s=60.0),
    )


def strata_of(config: Config) -> tuple[int, ...]:
    """Return the horizons of a sweep, each a stratum."""
    sweep = config.sweep
    assert sweep is not None
    if sweep.sampler == "grid":
        given = (config.grid or {}).get("max_steps", (config.worlds[0].max_steps,))
        return tuple(sorted({int(steps) for steps in given}))
    return tuple(range(sweep.prior.max_steps_min, sweep.prior.max_steps_max + 1))


def sample_count(config: Config) -> int:
    """Return how many parameter sets a sweep has."""
    sweep = config.sweep
    assert sweep is not None
    if sweep.sampler != "grid":
        return sweep.n_samples
    count = 1
    for values in (config.grid or {}).values():
        count *= len(values)
    return count


def map_cells(config: Config) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the array metrics of a sweep, which stand one after another in a stratum's cells."""
    world, largest = thawed(config.worlds[0]), config.worlds[0].max_steps
    humans, goals = len(world.humans), len(world.goals)
    return {
        "Vm": (humans, goals),
        "Ve": (humans, goals),
        "pi_r": (largest, world.n_robot_profiles),
        "p_first": (largest, humans + 2),
    }


def cell_count(config: Config) -> int:
    """Return how many cells a stratum has."""
    total = 0
    for shape in map_cells(config).values():
        total += shape[0] * shape[1]
    return total


def sweep_phase(config: Config) -> Phase:
    """Return the phase that solves every parameter set of a sweep."""
    assert config.sweep is not None
    world = thawed(config.worlds[0])
    humans, robots = len(world.humans), world.n_robot_profiles
    strata, cells = strata_of(config), cell_count(config)
    fixed = tuple(name for name in THEORY if name not in (*DRAWN, "beta_r", "rho_h", "rho_r"))
    in_grid = config.sweep.sampler == "grid"
    return Phase(
        name="sweep",
        kind="map",
        units=sample_count(config),
        block_size=SWEEP_BLOCK,
        after=("build",),
        reads=("sweep", "grid", *fixed, *((*DRAWN, "max_steps") if in_grid else ())),
        grows=None if in_grid else "sweep.n_samples",
        datasets=(
            *(Dataset(f"rows/{name}", "i8") for name in ("index", "seed", "n_states_nonterminal", "n_states")),
            Dataset("rows/max_steps", "i4"),
            *(Dataset(f"rows/{name}", "f8") for name in (*DRAWN, "beta_r", "p_left", "V_r", "U_r")),
            *(Dataset(f"rows/{name}", "f8", (robots,)) for name in ("pi_r", "Q_r")),
            *(Dataset(f"rows/{name}", "f8", (humans,)) for name in ("X_h", "W_h")),
            Dataset("rows/p_first", "f8", (humans + 2,)),
            *((Dataset("rows/p_disabled", "f8", (2,)),) if has_devices(world) else ()),
            Dataset("rows/status", "i1"),
            ragged("rows/error", "u1"),
            Dataset("counts/first", "i8", (len(strata), humans + 3)),
            Dataset("extrema/maps", "f8", (2, 1 + len(strata), cells)),
            Dataset("meta/computation_time", "f8"),
        ),
        stats=Stats(metrics=("all", *(f"max_steps={steps}" for steps in strata)), cells=cells),
        resources=Resources(
            mem_mb=1000,
            seconds_per_unit=SAMPLE_SECONDS,
            bytes_per_unit=500.0,
            target_minutes=5.0,
            checkpoint_s=60.0,
        ),
    )


def predicted_table(case: Any, level_sizes: list[int], n_exception_outcomes: int) -> list[int]:
    """Return predicted bytes of a problem by structure, all in memory."""
    found = predicted_bytes(
        case.world,
        level_sizes,
        n_exception_outcomes=n_exception_outcomes,
        storage_dtype=case.settings["storage_dtype"],
        keep_policies=case.settings["keep_policies"],
    )
    return [found[name] for name in STRUCTURES]
