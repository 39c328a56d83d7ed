"""What `status` says about a phase."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .rate import Estimate

State = Literal["done", "running", "queued", "failed", "missing"]
STATES: tuple[State, ...] = ("done", "running", "queued", "failed", "missing")


@dataclass(frozen=True)
class Use:
    """What attempts used of something, against what was requested."""

    p50: float
    p95: float
    max: float
    requested: float


@dataclass(frozen=True)
class FailureCount:
    """One kind of failure: its class, how often, the words of one case, and that case's log below the run."""

    failure: str
    count: int
    example: str
    shard: int
    log: str


@dataclass(frozen=True)
class Trials:
    """Trials of a pull phase; `told` is false where files were counted, because the database is gone or busy."""

    complete: int
    failed: int
    running: int
    wanted: int
    told: bool


@dataclass
class PhaseProgress:
    """Everything that `status` says about one phase; `rendered` says that its merge came to its end."""

    phase: str
    kind: str
    blocks: int
    units: int | None
    blocks_done: int = 0
    units_done: int = 0
    shards: dict[State, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    attempts: int = 0
    attempts_max: int = 0
    attempts_lost: int = 0
    estimate: Estimate = field(default_factory=Estimate)
    cpu_h: float = 0.0
    wasted_cpu_h: float = 0.0
    memory_mb: Use | None = None
    seconds: Use | None = None
    suggestion: str = ""
    failures: list[FailureCount] = field(default_factory=list)
    failed_shards: list[int] = field(default_factory=list)
    retries: bool = True
    trials: Trials | None = None
    merged: bool = False
    rendered: bool = False
    waits_for: str = ""
    trouble: str = ""

    @property
    def complete(self) -> bool:
        """Whether every block (or trial) stands."""
        if self.trials is not None:
            return self.trials.complete >= self.trials.wanted
        return not self.waits_for and not self.trouble and self.blocks_done >= self.blocks

    @property
    def active(self) -> bool:
        """Whether something of it runs or waits in the queue."""
        return bool(self.shards["running"] or self.shards["queued"])

    @property
    def fraction(self) -> float:
        """Return the share that stands, 0 to 1."""
        done, wanted = (self.trials.complete, self.trials.wanted) if self.trials else (self.blocks_done, self.blocks)
        return min(done / wanted, 1.0) if wanted else float(self.complete and not self.waits_for)
