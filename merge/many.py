"""Merging every planned run of a folder: those whose arrays are done, and word of what the others lack."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..shard.errors import Exit, QuintetError


def merge_many(folder: Path, options: Sequence[str], say: Callable[[str], None]) -> int:
    """Merge each run below a folder in a process of its own, so that none stops another.

    Args:
        folder: holds run directories.
        options: further words for `bin/merge`.
        say: takes one line at a time for the person.

    Returns:
        0 where all are merged, 3 where some are incomplete, else the code of the first that failed otherwise.

    Raises:
        QuintetError: exit 2 where no planned run is below the folder.
    """
    runs = sorted(path.parent.parent for path in folder.glob("*/plan/run.json"))
    if not runs:
        raise QuintetError(Exit.USAGE, f"{folder}: no planned run below it; bin/plan makes one")
    codes = {}
    for run in runs:
        command = [sys.executable, "-m", "quintet.merge", str(run), *options]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        codes[run] = done.returncode
        say(f"== {run}")
        for line in (done.stdout + done.stderr).splitlines():
            say(f"   {line}")
    incomplete = [run for run, code in codes.items() if code == Exit.INCOMPLETE]
    failed = [run for run, code in codes.items() if code not in {Exit.OK, Exit.INCOMPLETE}]
    say(f"{len(runs) - len(incomplete) - len(failed)} of {len(runs)} runs merged")
    for what, some in (("incomplete", incomplete), ("failed", failed)):
        if some:
            say(f"{what}: {', '.join(map(str, some))}")
    return codes[failed[0]] if failed else Exit.INCOMPLETE if incomplete else Exit.OK
