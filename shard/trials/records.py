"""What flows in and out of the trial store."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..lock import LockKind

Parameters = dict[str, Any]


class LeaseLost(Exception):  # noqa: N818
    """Another worker has taken this trial over: stop working on it and write nothing more."""


class SpaceExhausted(Exception):  # noqa: N818
    """Raised by a proposer that has no point for this or any later number (a grid at its end)."""


@dataclass(frozen=True)
class SearchSpec:
    """One search: what is searched, how many trials end COMPLETE, and how workers share them.

    Attributes:
        study_name: name of the Optuna study.
        n_trials: how many trials shall end COMPLETE.
        direction: whether large or small values are good.
        space: each parameter's name and distribution as Optuna's JSON (`space.uniform`, `integer`, `choice`).
        max_failures: with more FAIL trials than this nothing is claimed any more.
        adaptive: the proposer reads earlier results, so that a generation starts when all earlier ones are
            decided.
        lease_seconds: a worker that has not renewed its lease for so long has lost its trial.
        max_attempts: a trial lost so many times is FAIL; who claims it then publishes that.
        sync_batch: trials of one generation; 0 (adaptive only) lets each trial see whatever is finished,
            which no second run can repeat.
        lock_kind: the run's one lock kind.
        wait_seconds: how long a worker without a claim waits for the others, in all.
        enqueued: given parameter sets; they are the first trials.
        heartbeat_seconds: how often a lease is renewed; None renews it four times within `lease_seconds`.
        points: how many parameter sets the proposer has in all; None for no end. With all of them decided the
            search is complete, however many of them failed.
        origin: digests of the config and inputs that its trials are made from.
    """

    study_name: str
    n_trials: int
    direction: Literal["maximize", "minimize"]
    space: tuple[tuple[str, str], ...]
    max_failures: int
    adaptive: bool = False
    lease_seconds: float = 60.0
    max_attempts: int = 3
    sync_batch: int = 8
    lock_kind: LockKind = "flock"
    wait_seconds: float = 900.0
    enqueued: tuple[Parameters, ...] = ()
    heartbeat_seconds: float | None = None
    points: int | None = None
    origin: str = ""

    @property
    def fingerprint(self) -> str:
        """What must agree between a search and the database or lease that it takes up."""
        return json.dumps([self.study_name, self.origin, self.direction, self.space])


@dataclass(frozen=True)
class FinishedTrial:
    """A decided trial.

    `user_attrs` holds `partial` (file name) and `digest` (of its payload) where it was published, and
    `reason` where it failed; all values are JSON.
    """

    number: int
    state: Literal["COMPLETE", "FAIL"]
    value: float | None
    parameters: Parameters
    user_attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """The right to work on one trial for as long as its token is the newest one.

    One whose `attempt` is above `max_attempts` was lost too often: it is not computed, but published and told as FAIL.
    """

    number: int
    parameters: Parameters
    attempt: int
    token: str


@dataclass(frozen=True)
class Owner:
    """Who works: a process, and the Slurm array element it is, where it is one."""

    host: str
    pid: int
    array_job: str | None = None
    array_task: str | None = None
    restart_count: int = 0

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Owner:
        """Return this process as an owner, with the array element that `environ` names."""
        restarts = environ.get("SLURM_RESTART_COUNT", "")
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            array_job=environ.get("SLURM_ARRAY_JOB_ID"),
            array_task=environ.get("SLURM_ARRAY_TASK_ID"),
            restart_count=int(restarts) if restarts.isdecimal() else 0,
        )

    def is_restart_of(self, other: Owner) -> bool:
        """Say whether this is the same array element as `other`, requeued since."""
        return (
            self.array_job is not None
            and (self.array_job, self.array_task) == (other.array_job, other.array_task)
            and self.restart_count > other.restart_count
        )
