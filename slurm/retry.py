"""Whether a shard that has no partial may be tried again: a function of how its earlier attempts ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from ..shard.attempts import read_attempts
from ..shard.errors import Exit
from ..shard.run import Run
from .queue import Ending

# How many attempts in a row may end with a code before a person is needed.
ATTEMPTS_OF = {
    Exit.USAGE: 1,
    Exit.BAD_CALL: 1,
    Exit.MISMATCH: 1,
    Exit.CONFLICT: 1,
    Exit.CANNOT_WRITE: 1,
    Exit.INPUT: 2,
    Exit.BUG: 2,
    Exit.IO: 3,
}
KILLS = 5  # in a row, without a word: more memory did not help, or a node kills whatever runs there
MEMORY_STEP = 1.5
ADVICE = {
    Exit.USAGE: "mend the config",
    Exit.BAD_CALL: "the array does not belong to this plan",
    Exit.MISMATCH: "plan, code and config do not belong together",
    Exit.CONFLICT: "two attempts computed different payloads; compare both files",
    Exit.CANNOT_WRITE: "cannot write: look for a full disk, a quota or missing rights",
    Exit.INPUT: "an input is missing or damaged",
    Exit.BUG: "a bug; see the traceback in the log",
    Exit.IO: "the file system keeps failing",
}


@dataclass(frozen=True)
class Verdict:
    """What the attempts of one shard say.

    `held` is the code for which a person is needed, None where the shard may be tried again; `memory` multiplies the
    memory that the next attempt asks for.
    """

    held: int | None = None
    reason: str = ""
    memory: float = 1.0


def code_of(attempt: Mapping[str, Any]) -> int | None:
    """Return the exit code of an attempt, None where it was killed before it could say one."""
    end = attempt.get("end")
    code = end.get("rc") if isinstance(end, dict) else None
    return code if isinstance(code, int) else None


def is_of_other_inputs(attempt: Mapping[str, Any], inputs: str | None) -> bool:
    """Whether an attempt ended with 65 on inputs that have changed since: what it says holds no more."""
    return code_of(attempt) == Exit.INPUT and inputs is not None and attempt.get("inputs", inputs) != inputs


def verdict(attempts: Sequence[Mapping[str, Any]], out_of_memory: Sequence[bool], inputs: str | None = None) -> Verdict:
    """Return whether a shard may be tried again.

    Args:
        attempts: as `read_attempts` gives them, oldest first; those before one that ended well, and those
            that stopped early (75), count for nothing.
        out_of_memory: for each attempt, whether it was killed for its memory.
        inputs: digest of what the phase reads now, None where that is not known yet.
    """
    memory = MEMORY_STEP ** sum(out_of_memory)
    since = list(takewhile(lambda attempt: code_of(attempt) != Exit.OK, reversed(attempts)))[::-1]
    counted = [
        attempt for attempt in since if code_of(attempt) != Exit.STOPPED and not is_of_other_inputs(attempt, inputs)
    ]
    if not counted:
        return Verdict(memory=memory)
    last = code_of(counted[-1])
    same = len(list(takewhile(lambda attempt: code_of(attempt) == last, reversed(counted))))
    if last is None:
        return Verdict(None if same < KILLS else 137, f"killed {same} times in a row", memory)
    code = Exit(last) if last in set(Exit) else Exit.BUG
    if same < ATTEMPTS_OF.get(code, same + 1):
        return Verdict(memory=memory)
    reason = str(counted[-1]["end"].get("reason", ""))
    return Verdict(last, f"{ADVICE[code]} ({reason})" if reason else ADVICE[code], memory)


def was_out_of_memory(
    run: Run, phase: str, shard: int, attempt: Mapping[str, Any], endings: Mapping[str, Ending]
) -> bool:
    """Return whether an attempt without a last line was killed for its memory.

    Either the accounting says so, or the batch script outlived its Python and wrote down code 137 although nobody had
    sent TERM.
    """
    if code_of(attempt) is not None:
        return False
    element = element_of(attempt)
    if element in endings:
        return endings[element].state == "OUT_OF_MEMORY"
    return last_line(run.log_folder(phase, shard) / f"{element}.log").endswith("ended with rc 137")


def element_of(attempt: Mapping[str, Any]) -> str:
    """Return Slurm's name of the element that made an attempt."""
    ids = attempt.get("slurm") or {}
    return f"{ids.get('SLURM_ARRAY_JOB_ID')}_{ids.get('SLURM_ARRAY_TASK_ID')}"


def last_line(path: Path) -> str:
    """Return the last line of a log, empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            return file.read().decode(errors="replace").rstrip().rpartition("\n")[2]
    except OSError:
        return ""


def attempts_of(run: Run, phase: str, shard: int) -> list[dict[str, Any]]:
    """Return the attempts of a shard, oldest first."""
    return list(read_attempts(run.attempt_file(phase, shard)))


def killed_jobs(attempts: Mapping[int, Sequence[Mapping[str, Any]]]) -> set[str]:
    """Return the array jobs in which attempts were killed without a last line."""
    jobs = {
        str((attempt.get("slurm") or {}).get("SLURM_ARRAY_JOB_ID", ""))
        for tried in attempts.values()
        for attempt in tried
        if code_of(attempt) is None
    }
    return jobs - {""}


def verdicts(
    run: Run,
    phase: str,
    tried: Mapping[int, Sequence[Mapping[str, Any]]],
    endings: Mapping[str, Ending],
    inputs: str | None,
) -> dict[int, Verdict]:
    """Return the verdict on each shard that was tried before.

    Args:
        run: the run.
        phase: the phase's name.
        tried: shard -> its attempts, oldest first.
        endings: element -> how it ended, as far as the accounting knows.
        inputs: digest of what the phase reads now, None where that is not known yet.
    """
    return {
        shard: verdict(
            attempts, [was_out_of_memory(run, phase, shard, attempt, endings) for attempt in attempts], inputs
        )
        for shard, attempts in tried.items()
        if attempts
    }
