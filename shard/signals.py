"""When to stop early: a signal, the deadline, or the death of the process that started us."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

STOPPING = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
DEADLINE_SAFETY = 1.3


class StopFlag:
    """Set by USR1, TERM or INT; the handlers do nothing else, so that no write is ever interrupted."""

    def __init__(self) -> None:
        """Not asked to stop; the deadline comes from the environment, where Slurm or the wrapper gives one."""
        self.reason = ""
        self._parent = os.getppid()
        self._deadline = deadline_from(os.environ)
        self._slowest = 0.0

    def install(self) -> None:
        """Take over the signals; file-size limits shall come as EFBIG and not kill."""
        for number in STOPPING:
            signal.signal(number, self._caught)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name

    def took(self, seconds: float) -> None:
        """Remember how long a step took: the next one may take as long."""
        self._slowest = max(self._slowest, seconds)

    def requested(self) -> bool:
        """Whether to stop before the next step."""
        if not self.reason and self._deadline is not None:
            remaining = self._deadline - time.time()
            if remaining < DEADLINE_SAFETY * self._slowest or remaining <= 0:
                self.reason = "deadline"
        if not self.reason and os.getppid() != self._parent:
            self.reason = "parent died"
        return bool(self.reason)


def deadline_from(environment: os._Environ[str] | dict[str, str]) -> float | None:
    """Return the time limit in epoch seconds, None where nobody set one."""
    for name in ("QUINTET_DEADLINE", "SLURM_JOB_END_TIME"):
        try:
            return float(environment[name])
        except (KeyError, ValueError):
            continue
    return None
