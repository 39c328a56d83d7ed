"""Watching a run until it is complete: submit, wait until nothing of it is queued, submit what is missing again."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import replace

from ..shard.errors import Exit, QuintetError
from ..shard.run import Run
from .queue import Desk, Rehearsal, of_run
from .submission import Outcome, Wishes, submit

LONGEST_PAUSE_SECONDS = 300.0
STUCK_ROUNDS = 3


def until_done(
    run: Run,
    desk: Desk,
    wishes: Wishes,
    poll_seconds: float,
    say: Callable[[str], None] = print,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Submit a run and what is missing of it until every phase is merged; return the exit code.

    Args:
        run: a planned run.
        desk: Slurm.
        wishes: the first round's wishes; later rounds submit what is missing.
        poll_seconds: pause between two looks at the queue; longer while the controller does not answer or the queue
            is full of other jobs.
        say: takes one line at a time for the person.
        sleep: waits for some seconds.

    Returns:
        0 when all is merged, 3 (69 below a limit on queued jobs) when three rounds in a row changed nothing, or the
        code of shards that need a person.
    """
    seen: list[tuple[int, int]] = []
    pause = poll_seconds
    while True:
        outcome = submit(run, desk, wishes, say)
        waited = wait_for_queue(run, desk, poll_seconds, sleep)
        if outcome.unmerged == 0:
            return Exit.OK
        wishes = replace(wishes, missing_only=True)
        if outcome.held and not outcome.jobs and not waited:
            return outcome.code
        if outcome.refused and not outcome.jobs and not waited:
            sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            continue
        pause = poll_seconds
        seen.append((outcome.unmerged, outcome.missing))
        if seen[-STUCK_ROUNDS:] == [seen[-1]] * STUCK_ROUNDS:
            now = lacking(run, desk, wishes)  # this round is over, too: what it brought counts
            if (now.unmerged, now.missing) != seen[-1]:
                continue
            say(f"stuck: {outcome.missing} shards are still missing; bin/status {shlex.quote(str(run.path))} says why")
            return outcome.code or Exit.INCOMPLETE


def lacking(run: Run, desk: Desk, wishes: Wishes) -> Outcome:
    """Return what a submission would find lacking, without handing anything in."""
    return submit(run, Rehearsal(desk, lambda line: None), wishes, lambda line: None)


def wait_for_queue(run: Run, desk: Desk, poll_seconds: float, sleep: Callable[[float], None]) -> bool:
    """Wait until no job of the run is queued or running; return whether one was."""
    waited = False
    pause = poll_seconds
    while True:
        try:
            queued = of_run(run, desk.queued())
        except QuintetError as error:
            if error.code is not Exit.UNAVAILABLE:
                raise
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        else:
            if not queued:
                return waited
            pause = poll_seconds
        waited = True
        sleep(pause)
