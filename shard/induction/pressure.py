"""How much memory is left to this process, and what is done, step by step, when it gets short."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import Exit, QuintetError

UNLIMITED = 1 << 60
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """Bytes that can still be had, and the limit that they count against."""

    available: int
    limit: int

    @property
    def free_fraction(self) -> float:
        """Share of the limit that is left."""
        return self.available / max(self.limit, 1)


Provider = Callable[[], Memory]


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _statistic(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)


def _cgroup_memory() -> list[Memory]:
    """What the control groups of this process and those above them leave, versions 2 and 1."""
    found = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            base, names, cache = CGROUPS, ("memory.max", "memory.current"), "inactive_file"
        elif "memory" in controllers.split(","):
            base, names = CGROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
            cache = "total_inactive_file"
        else:
            continue
        folder = base / place.lstrip("/")
        while folder.is_relative_to(base):
            limit, used = (_number(folder / name) for name in names)
            if limit is not None and used is not None and limit < UNLIMITED:
                reclaimable = _statistic(folder / "memory.stat", cache)
                found.append(Memory(max(0, limit - used + reclaimable), limit))
            folder = folder.parent
    return found


def memory_now() -> Memory:
    """Return the smallest of what the host, the control groups (Slurm's limit) and RLIMIT_AS leave."""
    found = _cgroup_memory()
    host = {}
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            host[name] = int(value.split()[0]) * 1024
        found.append(Memory(host["MemAvailable"], host["MemTotal"]))
    except (OSError, KeyError, ValueError, IndexError):
        pass
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 < limit < UNLIMITED:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        found.append(Memory(max(0, limit - pages * resource.getpagesize()), limit))
    return min(found, key=lambda memory: memory.available, default=Memory(UNLIMITED, UNLIMITED))


@dataclass(frozen=True)
class Step:
    """One thing that makes room: its name, and the call, which returns whether there was anything to do."""

    name: str
    act: Callable[[], bool]


class Ladder:
    """Looks at the memory before a chunk and escalates one step at a time.

    Args:
        steps: what makes room, in this order; a step that can be repeated returns True as long as it helps.
        give_up: makes the error when no step is left.
        fraction: trigger level as a share of the limit; 0 turns all off.
        on_low: spill (climb the steps), pause (wait once, then give up) or abort (give up).
        pause_s: seconds to wait.
        interval: looks at every so many calls.
        provider: says how much memory there is.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        give_up: Callable[[Memory], QuintetError],
        *,
        fraction: float,
        on_low: Literal["spill", "pause", "abort"] = "spill",
        pause_s: float = 60.0,
        interval: int = 1,
        provider: Provider = memory_now,
    ) -> None:
        self._steps, self._give_up = list(steps), give_up
        self._fraction, self._on_low, self._pause_s, self._interval = fraction, on_low, pause_s, interval
        self._provider = provider
        self._calls = 0
        self.taken: list[str] = []

    def is_low(self) -> bool:
        """Whether less than the trigger level is left."""
        return self._fraction > 0.0 and self._provider().free_fraction < self._fraction

    def check(self) -> None:
        """Look, and where memory is low escalate one step.

        Raises:
            QuintetError: no step is left: 65 where this problem cannot fit, 75 where the machine is short now.
        """
        self._calls += 1
        if (self._calls - 1) % self._interval or not self.is_low():
            return
        if self._on_low == "spill":
            while self._steps:
                if self._steps[0].act():
                    self._log(self._steps[0].name)
                    return
                self._steps.pop(0)
        elif self._on_low == "pause":
            self._log(f"waiting {self._pause_s:g} s")
            time.sleep(self._pause_s)
            if not self.is_low():
                return
        raise self._give_up(self._provider())

    def _log(self, what: str) -> None:
        memory = self._provider()
        self.taken.append(what)
        print(
            f"[MEMORY] {memory.available / 1e6:.0f} of {memory.limit / 1e6:.0f} MB left: {what}",
            file=sys.stderr,
        )


def stopped_for_memory(memory: Memory, what: str) -> QuintetError:
    """Return the error of a process that the machine leaves too little memory at the moment: exit 75."""
    return QuintetError(
        Exit.STOPPED,
        f"memory: {memory.available / 1e6:.0f} of {memory.limit / 1e6:.0f} MB left after all that makes room; {what}",
    )


def too_large(fits: int, need: int, memory: Memory) -> QuintetError:
    """Return the error of a problem that does not fit into this memory at all: exit 65."""
    return QuintetError(
        Exit.INPUT,
        f"memory: this problem needs about {need / 1e6:.0f} MB with everything spilled, the limit is "
        f"{memory.limit / 1e6:.0f} MB; the largest horizon that fits is {fits}; use more memory or mode slab",
    )
