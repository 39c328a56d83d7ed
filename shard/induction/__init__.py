"""Phases of the study induction.

    solve    build (unit: a world) -> solve (unit: a problem)
    sweep    build -> sweep (unit: a parameter set)
    neural   root, or build -> solve (with validate) -> train (unit: a problem and a seed) -> check
    slab     expand-00 -> expand-01 -> ... -> resolve -> back-<T-1> -> ... -> back-head

Results of build, solve, train and of all slab phases are indices: arrays stay in the partials, and readers find them
there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...jobs.induction.config import Config
from .commands import COMMANDS, OUTPUTS, PACKAGED_INPUTS, TOOLS, from_flags, outcome
from .table import exact_phases
from .worlds import with_worlds

if TYPE_CHECKING:
    from ..context import Context
    from ..phases import Phase, Work

__all__ = [
    "COMMANDS",
    "OUTPUTS",
    "PACKAGED_INPUTS",
    "TOOLS",
    "Config",
    "from_flags",
    "late_units",
    "outcome",
    "phases",
    "resolved",
    "start",
]


def resolved(config: Config) -> Config:
    """Freeze what the worlds' files say; in mode neural also count their states. What cannot be served: exit 2."""
    frozen = with_worlds(config)
    if config.mode == "neural":
        from .neural_planning import counted

        return counted(frozen)
    return frozen


def phases(config: Config) -> tuple[Phase, ...]:
    """Return the table of phases."""
    if config.mode == "slab":
        from .slab_table import slab_phases

        return slab_phases(config)
    if config.mode == "neural":
        from .neural_table import neural_phases

        return neural_phases(config)
    return exact_phases(config)


def late_units(context: Context) -> int:
    """Return how many units a slab phase has: new configurations, blocks of them, or rows of a level."""
    from .slab import late_units as counted

    return counted(context)


def start(context: Context) -> Work:
    """Return the work of `context.phase` in this process."""
    work: Any
    name = context.phase.name
    if name in ("build", "solve", "sweep"):
        from .build_phase import BuildWork
        from .solve_phase import SolveWork
        from .sweep_phase import SweepWork

        work = {"build": BuildWork, "solve": SolveWork, "sweep": SweepWork}[name]
    elif name == "root":
        from .root_phase import RootWork

        work = RootWork
    elif name == "train":
        from .train_phase import TrainWork

        work = TrainWork
    elif name == "check":
        from .check_phase import CheckWork

        work = CheckWork
    else:
        from .slab import SlabWork

        work = SlabWork
    return work(context)  # type: ignore[no-any-return]
