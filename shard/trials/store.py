"""One search's trials in one SQLite file under one lock: claimed with a lease, told once, fenced by tokens.

Workers on any number of hosts call `claim`, compute without the lock, publish the trial's result file and
`tell` it. Exactly `n_trials` end COMPLETE, each told once, whatever is killed:

* Counting and creating stand in one transaction, so that never too many trials exist.
* A trial whose lease is not renewed is taken over under its number and parameters with a new token; a tell
  with an older token is refused.
* A trial that fails is replaced by the next fresh number; one lost too often is handed out to be published as such.
* The published result files are the truth. A database that is gone is made again from them, and from the
  leases of those who still work.
"""

from __future__ import annotations

import math
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar

from ..errors import Exit, QuintetError
from ..lock import LOCK_TIMEOUT_SECONDS, study_lock
from . import table
from .lease import Lease, LeaseFolder
from .rebuilding import make_database
from .records import Claim, FinishedTrial, LeaseLost, Owner, Parameters, SearchSpec, SpaceExhausted
from .space import checked, read_space

BACKUPS = 2
BACKUP_TRIALS = 8  # a backup so often where the search has no generations
REASONS_SHOWN = 5

T = TypeVar("T")
Propose = Callable[[int, Sequence[FinishedTrial]], Parameters]


class TrialStore:
    """The trials of one search.

    Beside the database `NAME.sqlite3` stand `NAME.lock`, `leases/NAME/` and the backups
    `NAME.sqlite3.backup-1` (newer) and `-2`.
    """

    def __init__(
        self,
        path: Path,
        spec: SearchSpec,
        *,
        published: Callable[[], Iterable[FinishedTrial]],
        propose: Propose,
        lock_timeout: float = LOCK_TIMEOUT_SECONDS,
        stopping: Callable[[], bool] | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            path: the database, `RUN/store/<name>.sqlite3`.
            spec: the search.
            published: reads the trials that have a valid result file, each number once; called where the
                database is gone, and by `check`.
            propose: the parameters of trial `number`, a pure function of it and, in an adaptive search, of
                the COMPLETE trials of earlier generations, by number; raises SpaceExhausted where there is no
                such point.
            lock_timeout: seconds to wait for the lock.
            stopping: says whether this process was asked to stop; ends waiting for the lock.
        """
        self.path = path
        self._spec = spec
        self._published = published
        self._propose = propose
        self._lock_timeout = lock_timeout
        self._stopping = stopping
        self._space = read_space(spec.space)
        self._space_json = dict(spec.space)
        self._leases = LeaseFolder(path.parent / "leases" / path.stem, spec.fingerprint)
        self._incarnation = ""
        self._decided: dict[int, FinishedTrial] = {}
        for position, parameters in enumerate(spec.enqueued):
            checked(parameters, self._space, f"enqueued parameter set {position}", Exit.USAGE)

    def claim(self, owner: Owner) -> Claim | Literal["wait", "done"]:
        """Return the next trial to work on, `wait` while others may still leave one, or `done`.

        A claimed trial may have been published by a worker that died before it told it: look first.

        Raises:
            QuintetError: 70 with the reasons where more than `max_failures` trials failed; 65 for a damaged
                database, 78 for one of another search; 69, 73, 74, 75 of the lock and the file system.
        """
        return self._transact(lambda connection: self._claim(connection, owner))

    def heartbeat(self, claim: Claim) -> None:
        """Renew the lease, without the lock and the database.

        Raises:
            LeaseLost: another worker has the trial now.
        """
        self._leases.renew(claim.number, claim.token)

    def give_back(self, claim: Claim) -> None:
        """Let anyone go on with the trial at once; the attempt is not counted.

        Raises:
            LeaseLost: another worker has the trial already.
        """
        self._leases.expire(claim.number, claim.token)

    def tell(self, claim: Claim, finished: FinishedTrial) -> None:
        """Store the trial's end, once its result file is published.

        Raises:
            LeaseLost: another worker has taken the trial over or ended it; nothing was changed.
            ValueError: `finished` is not this trial's, or COMPLETE without a finite value.
            QuintetError: as `claim`.
        """
        if finished.number != claim.number or finished.parameters != claim.parameters:
            raise ValueError(f"trial {claim.number}: told with the number or parameters of another trial")
        if finished.state == "COMPLETE" and (finished.value is None or not math.isfinite(finished.value)):
            raise ValueError(f"trial {claim.number}: COMPLETE with the value {finished.value}; allowed is a finite one")
        decided = self._transact(lambda connection: self._tell(connection, claim, finished))
        self._leases.remove(claim.number)
        if decided % (self._spec.sync_batch or BACKUP_TRIALS) == 0:
            self.backup()

    def fail(self, claim: Claim, reason: str) -> None:
        """Store that the trial failed for good; the next fresh number replaces it.

        Raises:
            LeaseLost, QuintetError: as `tell`.
        """
        self.tell(claim, FinishedTrial(claim.number, "FAIL", None, claim.parameters, {"reason": reason}))

    def finished(self) -> list[FinishedTrial]:
        """Return the decided trials by number; only those new since the last call are read.

        Raises:
            QuintetError: as `claim`.
        """
        self._transact(self._refresh)
        return [self._decided[number] for number in sorted(self._decided)]

    def check(self) -> list[str]:
        """Return what is wrong with the database in itself and against the published trials, one line each.

        A trial that is published and still RUNNING is no finding: its worker, or who takes it over, tells it.
        """
        if not self.path.exists():
            return [f"{self.path}: missing; the next worker makes it again from the published trials"]
        try:
            damage, still_open = self._transact(self._inspect)
        except QuintetError as error:
            if error.code not in (Exit.INPUT, Exit.MISMATCH):
                raise
            return [str(error)]
        findings = [f"{self.path}: {line}" for line in damage]
        published = {trial.number: trial for trial in self._published()}
        for number, trial in sorted(self._decided.items()):
            findings += _differences(trial, published.get(number))
        unknown = sorted(published.keys() - self._decided.keys() - still_open)
        return findings + [f"trial {number}: published, and unknown to the database" for number in unknown]

    def rebuild(self) -> None:
        """Make the database from the published trials where there is none, as `claim` and `tell` do.

        Raises:
            QuintetError: 65 where a published trial does not fit the search; else as `claim`.
        """
        with self._locked():
            self._make_if_missing()

    def set_aside(self) -> Path:
        """Rename a damaged database, so that the next worker makes it again; return its new path.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._locked():
            return self._renamed()

    def set_foreign_aside(self) -> Path | None:
        """Set a database of another search, config or inputs aside; return its new path, None where there is none.

        Called once, before the first claim: a worker of an earlier plan that still lives must not remove the new one.
        """
        with self._locked(), suppress(FileNotFoundError, *table.UNREADABLE):  # `claim` says what is wrong with it
            try:
                self._attempt(lambda connection: None)
            except table.OtherSearch:
                return self._renamed()
        return None

    def backup(self) -> None:
        """Copy the database to `.backup-1`, that one to `.backup-2`; `tell` does so once per generation."""
        with self._locked():
            fresh = Path(f"{self.path}.backup-new")
            fresh.unlink(missing_ok=True)
            try:
                with closing(table.connect(self.path)) as source, closing(sqlite3.connect(fresh)) as copy:
                    source.backup(copy)
            except (FileNotFoundError, *table.UNREADABLE) as error:
                if not self.path.exists():
                    return
                raise table.named_error(self.path, error) from error
            for position in range(BACKUPS, 1, -1):
                with suppress(FileNotFoundError):
                    Path(f"{self.path}.backup-{position - 1}").replace(f"{self.path}.backup-{position}")
            fresh.replace(f"{self.path}.backup-1")

    def _renamed(self) -> Path:
        number = 1
        while (aside := Path(f"{self.path}.damaged-{number}")).exists():
            number += 1
        self.path.rename(aside)
        with suppress(FileNotFoundError):
            Path(f"{self.path}-journal").rename(f"{aside}-journal")
        return aside

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_suffix(".lock")
        with study_lock(lock, self._spec.lock_kind, self._lock_timeout, self._stopping):
            yield

    def _transact(self, body: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `body` does under the lock in one transaction, rolled back by an exception.

        Where somebody deletes or replaces the database meanwhile, it is made again and `body` called again.
        """
        with self._locked():
            while True:
                self._make_if_missing()
                try:
                    return self._attempt(body)
                except FileNotFoundError:
                    if self.path.exists():
                        raise
                except table.UNREADABLE as error:
                    if self.path.exists() and not table.was_replaced(error):
                        raise table.named_error(self.path, error) from error

    def _attempt(self, body: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with closing(table.connect(self.path)) as connection:
                incarnation = table.identify(connection, self.path, self._spec)
                if incarnation != self._incarnation:
                    self._incarnation = incarnation
                    self._decided.clear()
                connection.execute("BEGIN IMMEDIATE")
                result = body(connection)
                connection.execute("COMMIT")
                return result
        except BaseException:
            self._incarnation = ""  # what was read here may have been rolled back: read it again
            raise

    def _claim(self, connection: sqlite3.Connection, owner: Owner) -> Claim | Literal["wait", "done"]:
        complete = table.trial_count(connection, "COMPLETE")
        if complete < self._spec.n_trials and table.trial_count(connection, "FAIL") > self._spec.max_failures:
            self._refresh(connection)
            raise QuintetError(Exit.BUG, self._failure_line())
        return self._take_over(connection, owner) or self._start_next(connection, owner, complete)

    def _tell(self, connection: sqlite3.Connection, claim: Claim, finished: FinishedTrial) -> int:
        """Store the trial's end; return how many trials are decided."""
        state, token = table.state_and_token(connection, claim.number) or ("", "")
        if state in ("COMPLETE", "FAIL"):
            self._accept_repeated(connection, claim, finished, token)
        elif token != claim.token:
            raise LeaseLost(f"trial {claim.number} was taken over by another worker")
        else:
            table.finish_trial(connection, finished)
        return table.trial_count(connection, "COMPLETE") + table.trial_count(connection, "FAIL")

    def _inspect(self, connection: sqlite3.Connection) -> tuple[list[str], set[int]]:
        """Return what SQLite finds wrong, and the numbers of the open trials."""
        self._refresh(connection)
        return table.integrity(connection), {number for number, _, _ in table.open_trials(connection)}

    def _take_over(self, connection: sqlite3.Connection, owner: Owner) -> Claim | None:
        """Return a claim on the first running trial that nobody works on."""
        server_time: float | None = None
        for number, state, attempt in table.open_trials(connection):
            if state == "WAITING":
                continue
            lease = self._leases.read(number)
            if server_time is None:
                server_time = self._leases.now()
            if lease is not None and not self._abandoned(lease, owner, server_time):
                continue
            next_attempt = attempt if lease is not None and lease.given_back else attempt + 1
            parameters = table.read_parameters(connection, self._space, number)
            return self._reserve(connection, owner, number, parameters, next_attempt)
        return None

    def _abandoned(self, lease: Lease, owner: Owner, server_time: float) -> bool:
        return (
            lease.given_back
            or server_time - lease.modified > self._spec.lease_seconds
            or owner.is_restart_of(lease.owner)
        )

    def _start_next(
        self, connection: sqlite3.Connection, owner: Owner, complete: int
    ) -> Claim | Literal["wait", "done"]:
        """Start the first number that a rebuilding left open, else the first fresh one."""
        still_open = table.open_trials(connection)
        left = [number for number, state, _ in still_open if state == "WAITING"]
        number = left[0] if left else table.next_number(connection)
        running = len(still_open) - len(left)
        if not left and not running and complete >= self._spec.n_trials:
            return "done"
        if (not left and complete + running >= self._spec.n_trials) or self._blocked(connection, number):
            return "wait"
        try:
            parameters = self._parameters(connection, number)
        except SpaceExhausted:
            return "wait" if running else "done"
        stored = checked(parameters, self._space, f"proposed trial {number}", Exit.BUG)
        # As whoever takes the trial over reads them: 1 and 1.0 are other bytes in its result file.
        parameters = {name: self._space[name].external(value) for name, value in stored}
        if left:
            table.start_trial(connection, number)
        else:
            table.insert_trial(connection, number, "RUNNING")
        table.write_parameters(connection, number, stored, self._space_json)
        return self._reserve(connection, owner, number, parameters, 1)

    def _reserve(
        self, connection: sqlite3.Connection, owner: Owner, number: int, parameters: Parameters, attempt: int
    ) -> Claim:
        token = secrets.token_hex(8)
        table.reserve(connection, number, token, attempt)
        # Before the commit: where the lease cannot be written, the reservation must not stand.
        self._leases.write(number, owner, token, attempt, parameters)
        return Claim(number, parameters, attempt, token)

    def _generation_start(self, number: int) -> int:
        batch = self._spec.sync_batch
        return number // batch * batch if batch else number

    def _blocked(self, connection: sqlite3.Connection, number: int) -> bool:
        """Say whether trial `number` must wait for an earlier generation."""
        if not self._spec.adaptive or not self._spec.sync_batch or number < len(self._spec.enqueued):
            return False
        start = self._generation_start(number)
        return any(other < start for other, _, _ in table.open_trials(connection))

    def _parameters(self, connection: sqlite3.Connection, number: int) -> Parameters:
        if number < len(self._spec.enqueued):
            return dict(self._spec.enqueued[number])
        if not self._spec.adaptive:
            return self._propose(number, ())
        self._refresh(connection)
        start = self._generation_start(number)
        seen = [self._decided[known] for known in sorted(self._decided) if known < start]
        return self._propose(number, [trial for trial in seen if trial.state == "COMPLETE"])

    def _refresh(self, connection: sqlite3.Connection) -> None:
        fresh = table.decided_numbers(connection) - self._decided.keys()
        for trial in table.read_finished(connection, self._space, fresh):
            self._decided[trial.number] = trial

    def _failure_line(self) -> str:
        failed = [trial for _, trial in sorted(self._decided.items()) if trial.state == "FAIL"]
        shown = [f"trial {trial.number}: {trial.user_attrs.get('reason', 'no reason given')}" for trial in failed]
        more = f"; and {len(shown) - REASONS_SHOWN} more" if len(shown) > REASONS_SHOWN else ""
        return (
            f"search {self._spec.study_name}: {len(failed)} trials failed, "
            f"allowed are {self._spec.max_failures}: " + "; ".join(shown[:REASONS_SHOWN]) + more
        )

    def _accept_repeated(
        self, connection: sqlite3.Connection, claim: Claim, finished: FinishedTrial, token: str
    ) -> None:
        """Accept the tell of a trial that is decided already where it says the same; refuse it otherwise.

        It says the same where this claim was told before, or where a rebuilding has found its result file.
        """
        (known,) = table.read_finished(connection, self._space, [claim.number])
        same = (known.state, known.value, known.user_attrs.get("digest")) == (
            finished.state,
            finished.value,
            finished.user_attrs.get("digest"),
        )
        if not same or token not in ("", claim.token):
            raise LeaseLost(f"trial {claim.number} was ended by another worker")

    def _make_if_missing(self) -> None:
        if not self.path.exists():
            make_database(self.path, self._spec, self._published(), self._leases)


def _differences(stored: FinishedTrial, published: FinishedTrial | None) -> list[str]:
    if published is None:
        # A trial that failed without a result file has nothing to be compared with.
        lost = stored.state == "COMPLETE" or "partial" in stored.user_attrs
        return [f"trial {stored.number}: {stored.state}, and not published"] if lost else []
    pairs = {
        "state": (stored.state, published.state),
        "value": (stored.value, published.value),
        "parameters": (stored.parameters, published.parameters),
        "digest": (stored.user_attrs.get("digest"), published.user_attrs.get("digest")),
    }
    return [
        f"trial {stored.number}: {what} {ours!r} in the database, {theirs!r} published"
        for what, (ours, theirs) in pairs.items()
        if ours != theirs
    ]
