"""How many trials of a search are COMPLETE, failed and running."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, cast

from ..errors import QuintetError
from ..partial import opened
from .record import Trials

if TYPE_CHECKING:
    from ..lock import LockKind
    from ..run import Plan, Run
    from ..scan import Found

LOCK_S = 2.0


def trials_of(run: Run, plan: Plan, files: Sequence[Found]) -> Trials:
    """Count the trials in the database; in the published files where it is busy, damaged or gone."""
    from ..lock import study_lock
    from ..trials import table

    path = run.store(plan.phase)
    wanted = plan.units or 0
    if path.exists():
        try:
            with (
                study_lock(path.with_suffix(".lock"), cast("LockKind", plan.lock_kind), LOCK_S),
                closing(table.connect(path)) as connection,
            ):
                complete, failed, running = (
                    table.trial_count(connection, state) for state in ("COMPLETE", "FAIL", "RUNNING")
                )
            return Trials(complete, failed, running, wanted, True)
        except (QuintetError, OSError, *table.UNREADABLE):
            pass
    failed = sum(map(is_failure, files))
    return Trials(len(files) - failed, failed, 0, wanted, told=not files and not path.exists())


def is_failure(found: Found) -> bool:
    """Whether a trial's partial is a failure row; one that cannot be read is none, since status checks cards only."""
    try:
        with opened(found.path) as file:
            return bool(file["rows/failed"][0])
    except (OSError, KeyError, ValueError, IndexError):
        return False
