"""What a process costs, by the kernel's own account: CPU seconds of it and its children, and its peak memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

BARE = "import numpy, h5py"
BARE_WRITING = "import numpy, h5py, sys\nwith h5py.File(sys.argv[1], 'w') as file:\n    file['x'] = numpy.arange(8.0)\n"


@dataclass(frozen=True)
class Cost:
    """CPU seconds (user and system) and peak resident MB."""

    cpu_s: float
    peak_mb: float


def cost_of(
    command: Sequence[str], environment: Mapping[str, str] | None = None, allowed: Sequence[int] = (0,)
) -> Cost:
    """Run a command to its end and return what it cost; end this process where its exit code is not allowed."""
    output = subprocess.PIPE if "--debug" not in sys.argv else None
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=output)
    words = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in allowed:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}\n{words.decode(errors='replace')}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def in_turns(commands: Mapping[str, Sequence[str]], rounds: int, environment: Mapping[str, str]) -> dict[str, float]:
    """Return the median CPU seconds of each command, run one after the other, round by round.

    In turns, because a busy machine slows everything down for a while: ratios within a round stay true.
    """
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append(cost_of(command, environment).cpu_s)
    return {name: median(values) for name, values in found.items()}


def own_cpu_s() -> float:
    """Return the CPU seconds of this process, without its children."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
