"""Renewing a lease while its trial is computed, so that a step longer than the lease does not lose the trial."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from .records import Claim
from .store import TrialStore


class Renewal:
    """Renews the lease of a claimed trial for the body of a `with`: a thread that stops and dies with its process."""

    def __init__(self, store: TrialStore, claim: Claim, seconds: float) -> None:
        """Renew every so many seconds."""
        self._store, self._claim, self._seconds = store, claim, seconds
        self._renewed = time.monotonic()
        self._failure: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_on, daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; nothing is renewed any more."""
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what renewing met; renew at once where the thread had no turn, as in a process that was stopped.

        Raises:
            LeaseLost: another worker has the trial now.
            OSError: the lease cannot be renewed.
        """
        if self._failure is not None:
            raise self._failure
        if time.monotonic() - self._renewed >= self._seconds:
            self._renew()

    def _renew(self) -> None:
        self._store.heartbeat(self._claim)
        self._renewed = time.monotonic()

    def _keep_on(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                self._renew()
            except Exception as error:
                self._failure = error
                return
