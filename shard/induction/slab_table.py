"""The phases of mode slab.

Forward, `expand-<f>` finds the successors of the configurations of depth f (unit: one of them; block: `slab.rows` in
the order of their keys), and its merge finds out which are new. `resolve` turns successor keys into numbers (unit: a
block of an expand phase). Backward, `back-<t>` computes level t (unit: one of its rows) from the tables of level t + 1.
The first `slab.head_levels` levels are small, and one phase of one unit computes them all: `back-head`.
"""

from __future__ import annotations

from ...jobs.induction.config import THEORY, Config
from ...jobs.induction.samples import has_devices
from ..phases import Dataset, Phase, Resources
from .table import (
    Shape,
    indexed,
    kept_values,
    key_shape,
    level_datasets,
    root_datasets,
    shape_of,
    stored_dtype,
    transition_datasets,
)
from .worlds import cases

VALUE_READS = (*THEORY, "storage_dtype", "keep_policies", "worlds", "world_of")
EXPAND_S_PER_ROW, BACK_S_PER_ROW = 3e-5, 1.2e-5
GROWTH = 1.5
HEAD = "back-head"


def expand_name(depth: int) -> str:
    """Return the phase that expands the configurations of a depth."""
    return f"expand-{depth:02d}"


def back_name(t: int) -> str:
    """Return the phase that computes a level."""
    return f"back-{t:02d}"


def head_levels(config: Config) -> int:
    """Return how many levels are computed in one phase."""
    assert config.slab is not None
    return min(config.slab.head_levels, config.worlds[0].max_steps)


def back_datasets(config: Config, shape: Shape) -> tuple[Dataset, ...]:
    """Return what a phase of one level holds."""
    case = cases(config)[0]
    stored, keep = stored_dtype([case.settings["storage_dtype"]]), case.settings["keep_policies"]
    return (
        *(
            Dataset(f"rows/{name}", dtype, rest, merge="index")
            for name, dtype, rest in kept_values(shape, stored, keep)
        ),
        Dataset("rows/first", "f8", (shape.humans + 2,), merge="index"),
        *((Dataset("rows/disabled", "f8", (2,), merge="index"),) if has_devices(case.world) else ()),
        *root_datasets(shape, "rows/root"),
    )


def slab_phases(config: Config) -> tuple[Phase, ...]:
    """Return the table of phases."""
    assert config.slab is not None
    shape, horizon, rows = shape_of(config), config.worlds[0].max_steps, config.slab.rows
    head, case = head_levels(config), cases(config)[0]
    stored, keep = stored_dtype([case.settings["storage_dtype"]]), case.settings["keep_policies"]
    row_bytes = 2.0 * shape.humans * shape.goals * int(stored[1:]) + 16.0 * shape.robots + 8.0 * (shape.humans + 4)
    window = 2 * shape.humans * shape.goals * 8 + 8
    expected = [min(int(30 * GROWTH**t), 10**9) for t in range(horizon + 1)]
    expands = tuple(
        Phase(
            name=expand_name(depth),
            kind="map",
            units=1 if depth == 0 else None,
            expected_units=expected[depth],
            block_size=rows,
            after=tuple(expand_name(k) for k in range(depth)),
            reads=("worlds", "slab"),
            inputs=("world",),
            datasets=(indexed("rows/successor_key", "u8", *key_shape(shape)), *transition_datasets(shape)),
            resources=Resources(
                mem_mb=600 + rows * shape.profiles * 40 // 10**6,
                seconds_per_unit=EXPAND_S_PER_ROW,
                bytes_per_unit=4.0 * shape.profiles + 8 * shape.words,
                target_minutes=10.0,
            ),
        )
        for depth in range(horizon)
    )
    resolve = Phase(
        name="resolve",
        kind="map",
        units=None,
        expected_units=max(horizon, sum(expected[:horizon]) // rows),
        after=tuple(expand_name(depth) for depth in range(horizon)),
        datasets=transition_datasets(shape),
        resources=Resources(mem_mb=1500, seconds_per_unit=1.0, bytes_per_unit=4.0 * shape.profiles * rows),
    )
    backs = tuple(
        Phase(
            name=back_name(t),
            kind="map",
            units=None,
            expected_units=expected[t],
            block_size=rows,
            after=("resolve",) if t == horizon - 1 else ("resolve", back_name(t + 1)),
            reads=VALUE_READS,
            datasets=back_datasets(config, shape),
            resources=Resources(
                mem_mb=600 + int((expected[t + 1] * window + rows * 4 * (shape.profiles + row_bytes)) / 1e6),
                seconds_per_unit=BACK_S_PER_ROW,
                bytes_per_unit=row_bytes,
                target_minutes=10.0,
            ),
        )
        for t in range(horizon - 1, head - 1, -1)
    )
    last = Phase(
        name=HEAD,
        kind="map",
        units=1,
        after=("resolve",) if head == horizon else ("resolve", back_name(head)),
        reads=(*VALUE_READS, "slab"),
        datasets=(
            *level_datasets(shape, head, stored, keep),
            *root_datasets(shape, "rows/root"),
        ),
        resources=Resources(mem_mb=1500, seconds_per_unit=5.0, bytes_per_unit=row_bytes * sum(expected[:head])),
    )
    return (*expands, resolve, *backs, last)
