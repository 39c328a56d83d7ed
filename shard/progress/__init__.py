"""How far a run is, from the run directory alone, and what comes next."""

from .history import History, log_name, read_phase_attempts, unrecorded
from .measure import next_step, progress_of
from .record import FailureCount, PhaseProgress, Trials, Use

__all__ = [
    "FailureCount",
    "History",
    "PhaseProgress",
    "Trials",
    "Use",
    "log_name",
    "next_step",
    "progress_of",
    "read_phase_attempts",
    "unrecorded",
]
