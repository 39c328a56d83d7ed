"""Lease files: one per running trial, renewed by its worker without touching the database.

A lease's age is the difference of two modification times given by the same file server (its own, and that of
a file touched in the same folder at that moment), so that no host's clock enters.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import TRANSIENT_ERRNOS
from .records import LeaseLost, Owner, Parameters

MAX_LEASE_BYTES = 1 << 20


@dataclass(frozen=True)
class Lease:
    """What a lease file says; `modified` is its time in seconds, 0 once the trial was given back."""

    owner: Owner
    token: str
    attempt: int
    parameters: Parameters
    modified: float

    @property
    def given_back(self) -> bool:
        """Say whether the owner gave the trial back of its own will."""
        return self.modified == 0.0


class LeaseFolder:
    """The lease files `<number>.json` of one search."""

    def __init__(self, folder: Path, search: str) -> None:
        """Use `folder`, which is made when the first lease is written; `search` is the fingerprint of the search."""
        self._folder = folder
        self._search = search

    def write(self, number: int, owner: Owner, token: str, attempt: int, parameters: Parameters) -> None:
        """Put a new lease in the place of any other one of this trial."""
        record = {
            "search": self._search,
            "owner": asdict(owner),
            "token": token,
            "attempt": attempt,
            "parameters": parameters,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / f".{number:05d}.{token}"
        with fresh.open("w", encoding="utf-8") as stream:
            json.dump(record, stream)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self._path(number))

    def read(self, number: int) -> Lease | None:
        """Return the trial's lease, or None where there is none of this search that can be read."""
        try:
            # Opened, not only looked at: NFS asks the server for the times of a file that is opened.
            with self._path(number).open("rb") as stream:
                modified = os.fstat(stream.fileno()).st_mtime
                record = json.loads(stream.read(MAX_LEASE_BYTES))
            if record["search"] != self._search:
                return None
            return Lease(Owner(**record["owner"]), record["token"], record["attempt"], record["parameters"], modified)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def now(self) -> float:
        """Return the file server's present time in seconds."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / ".now", os.O_WRONLY | os.O_CREAT, 0o660)
        try:
            os.utime(descriptor)
            return os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)

    def renew(self, number: int, token: str) -> None:
        """Make the lease young again.

        Raises:
            LeaseLost: it is gone or has another token.
        """
        self._touch(number, token, None)

    def expire(self, number: int, token: str) -> None:
        """Back-date the lease, so that anyone may take the trial at once.

        Raises:
            LeaseLost: it is gone or has another token.
        """
        self._touch(number, token, (0, 0))

    def remove(self, number: int) -> None:
        """Remove the lease of a decided trial."""
        self._path(number).unlink(missing_ok=True)

    def numbers(self) -> list[int]:
        """Return the numbers that have a lease file, in order."""
        return sorted(int(path.stem) for path in self._folder.glob("[0-9]*.json") if path.stem.isdecimal())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.json"

    def _touch(self, number: int, token: str, times: tuple[int, int] | None) -> None:
        try:
            with self._path(number).open("rb") as stream:
                found = json.loads(stream.read(MAX_LEASE_BYTES)).get("token")
                if found != token:
                    raise LeaseLost(f"trial {number} was taken over by another worker")
                # Through the descriptor: a lease that replaces this one meanwhile keeps its own time.
                os.utime(stream.fileno(), times)
        except FileNotFoundError as error:
            raise LeaseLost(f"trial {number}: its lease is gone") from error
        except ValueError as error:
            raise LeaseLost(f"trial {number}: its lease cannot be read") from error
        except OSError as error:
            # A lease not renewed may expire, and then the token keeps a late result out: no reason to stop.
            if error.errno not in TRANSIENT_ERRNOS:
                raise

    def clear_leftovers(self) -> None:
        """Remove what workers killed between writing and renaming a lease have left."""
        for path in self._folder.glob(".[0-9]*"):
            with suppress(FileNotFoundError):
                path.unlink()
