"""The run directory: where everything of one planned execution lies."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import NO_FILE_ERRNOS, Exit, QuintetError
from .publish import retried
from .seal import read_sealed

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
SHARDS_PER_BUCKET = 1000
PLAN_SCHEMA = "quintet.plan/1"


def valid_name(value: str, what: str) -> str:
    """Return `value` if it may name a run, study or phase; else exit 2."""
    if not NAME.fullmatch(value):
        raise QuintetError(Exit.USAGE, f"{what}: {value!r} is not a name; allowed is {NAME.pattern}")
    return value


@dataclass(frozen=True)
class Plan:
    """One phase's plan file.

    The `units` of a `late` phase are None until an earlier merge has counted them; `points` is how many parameter
    sets a search has in all, None for no end.
    """

    study: str
    phase: str
    kind: str
    config_sha256: str
    code: dict[str, Any]
    root_entropy: int
    units: int | None
    block_size: int
    blocks: int
    shards: tuple[tuple[int, int], ...]
    after: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...]
    resources: dict[str, Any]
    estimates: dict[str, Any]
    lock_kind: str = "flock"
    late: bool = False
    points: int | None = None

    def units_of(self, block: int) -> range:
        """Return the units of one block."""
        return range(block * self.block_size, min((block + 1) * self.block_size, self.units or 0))

    @classmethod
    def from_json(cls, data: dict[str, Any], path: Path) -> Plan:
        """Build a plan from a plan file's content; exit 78 where the schema is another."""
        if data.get("schema") != PLAN_SCHEMA:
            raise QuintetError(
                Exit.MISMATCH, f"{path}: schema {data.get('schema')!r}; this suite reads {PLAN_SCHEMA!r}"
            )
        values = {key: data[key] for key in cls.__dataclass_fields__ if key in data}
        may_lack = {"units", "points"}
        missing = [key for key in cls.__dataclass_fields__ if values.get(key) is None and key not in may_lack]
        if missing:
            raise QuintetError(Exit.MISMATCH, f"{path}: key {missing[0]!r} is missing from the plan file")
        values["shards"] = tuple((int(lo), int(hi)) for lo, hi in values["shards"])
        values["after"] = tuple(values["after"])
        values["inputs"] = tuple(values["inputs"])
        values["root_entropy"] = int(values["root_entropy"])
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return what the plan file holds; the entropy is a string, since 128 bits pass JSON numbers."""
        data = {key: getattr(self, key) for key in self.__dataclass_fields__}
        return {"schema": PLAN_SCHEMA, **data, "root_entropy": str(self.root_entropy)}


class Run:
    """A run directory and the names of what lies in it."""

    def __init__(self, path: Path | str) -> None:
        """Name the directory; nothing is read."""
        self.path = Path(path)
        self._buckets: dict[tuple[str, str, int], Path] = {}

    def _bucket(self, top: str, phase: str, number: int) -> Path:
        """Return the folder of a thousand files, remembered: joining paths is most of what a scan would do."""
        key = (top, phase, number // SHARDS_PER_BUCKET)
        if key not in self._buckets:
            self._buckets[key] = self.path / top / phase / f"{key[2]:04d}"
        return self._buckets[key]

    @classmethod
    def opened(cls, path: Path | str) -> Run:
        """Return a planned run; exit 2 where the folder holds no plan, or anyone may write to it."""
        run = cls(path)
        if not (run.path / "plan").is_dir():
            raise QuintetError(Exit.USAGE, f"{path}: not a planned run (no folder plan/); make it with bin/plan CONFIG")
        if run.path.stat().st_mode & 0o002 and not os.environ.get("QUINTET_TRUST_WORLD_WRITABLE"):
            raise QuintetError(
                Exit.USAGE,
                f"{path}: anyone may write to this run directory; chmod o-w it, or pass --trust-world-writable",
            )
        return run

    @property
    def plan_folder(self) -> Path:
        """Return the folder of plan files."""
        return self.path / "plan"

    def plan(self, phase: str) -> Plan:
        """Read one phase's plan; exit 64 where the run has no such phase, 74 where its file cannot be read for now."""
        valid_name(phase, "phase")
        path = self.plan_folder / f"{phase}.json"
        try:
            data = retried(lambda: read_sealed(path))
        except FileNotFoundError:
            names = ", ".join(self.phases()) or "none"
            raise QuintetError(
                Exit.BAD_CALL, f"phase {phase!r} is not in the plan of {self.path}; phases: {names}"
            ) from None
        return Plan.from_json(data, path)

    def overview(self) -> dict[str, Any]:
        """Read `plan/run.json`: study, phases in order, and what all phases share.

        Raises:
            QuintetError: exit 74 where it cannot be read for now, 78 where there is none or it is damaged.
        """
        path = self.plan_folder / "run.json"
        try:
            return retried(lambda: read_sealed(path))
        except OSError as error:
            if error.errno not in NO_FILE_ERRNOS:
                raise
            raise QuintetError(Exit.MISMATCH, f"{path}: cannot be read ({error}); plan the run again") from None

    def phases(self) -> tuple[str, ...]:
        """Return the names of the phases, in the order of the table."""
        return tuple(self.overview()["phases"])

    def config(self) -> dict[str, Any]:
        """Return the resolved config as plain JSON values."""
        return dict(self.overview()["config"])

    def shard_file(self, phase: str, shard: int) -> Path:
        """Return where a map shard's partial lies."""
        return self._bucket("partials", phase, shard) / f"s{shard:06d}.h5"

    def trial_file(self, phase: str, number: int) -> Path:
        """Return where a trial's partial lies."""
        return self._bucket("partials", phase, number) / f"t{number:06d}.h5"

    def attempt_file(self, phase: str, shard: int) -> Path:
        """Return where the attempts of a shard (or worker) are recorded."""
        return self._bucket("attempts", phase, shard) / f"s{shard:06d}.jsonl"

    def log_folder(self, phase: str, shard: int) -> Path:
        """Return where the logs of a shard (or worker) lie."""
        return self._bucket("logs", phase, shard)

    def checkpoint_file(self, phase: str, unit: int, generation: int) -> Path:
        """Return where the checkpoint inside a unit (or trial) lies."""
        return self.checkpoint_folder(phase, unit) / f"u{unit:06d}.{generation}.h5"

    def checkpoint_folder(self, phase: str, unit: int) -> Path:
        """Return the folder of a unit's checkpoints."""
        return self._bucket("checkpoints", phase, unit)

    def store(self, name: str) -> Path:
        """Return a search's SQLite file."""
        return self.path / "store" / f"{name}.sqlite3"

    def merged(self, phase: str) -> Path:
        """Return a phase's result."""
        return self.path / "merged" / f"{phase}.h5"

    def relative(self, path: Path) -> str:
        """Return a path below the run, as it may stand in a plan or a report."""
        return path.resolve().relative_to(self.path.resolve()).as_posix()
