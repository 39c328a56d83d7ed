"""What the study's programs say when something goes wrong that a person can mend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..attempts import read_attempts
from ..failures import Failure, classify

if TYPE_CHECKING:
    from ..run import Run

MEMORY_ADVICE = (
    "out of memory: smaller values of batch_size, hidden_dim, lstm_hidden_size or memory_size need less, "
    "or give the phase more with phases.<name>.mem_mb"
)
SLOW_SUCCESS = 0.5


def slow_advice(with_conspec: bool) -> str:
    """Return what may help where learning is slow."""
    return (
        "Slow convergence: the best trial succeeds in fewer than half of its last episodes. More episodes, a larger "
        f"learning_rate, {'a larger intrinsic_reward_scale, ' if with_conspec else ''}a smaller epsilon_decay or a "
        "smaller world may help."
    )


def out_of_memory(run: Run) -> list[str]:
    """Return the phases of which an element said that it had no memory left, or was killed for it."""
    found = []
    for name in run.phases():
        for path in sorted((run.path / "attempts" / name).rglob("*.jsonl")):
            if any(lacked_memory(attempt) for attempt in read_attempts(path)):
                found.append(name)
                break
    return found


def lacked_memory(attempt: dict[str, Any]) -> bool:
    """Whether an attempt ended for want of memory."""
    reason = str((attempt.get("end") or {}).get("reason", ""))
    return MEMORY_ADVICE in reason or classify(attempt) is Failure.OOM


def killed_silently(run: Run) -> bool:
    """Whether the last attempt at some element left no last line, as the kernel's memory killer leaves it."""
    last = [
        attempts[-1]
        for name in run.phases()
        for path in (run.path / "attempts" / name).rglob("*.jsonl")
        if (attempts := list(read_attempts(path)))
    ]
    return any("end" not in attempt for attempt in last)
