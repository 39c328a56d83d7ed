"""Outcomes and trajectories of single pairs, read from the partials of a merged run through its index."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...jobs.complementarity.layout import RowDataset, row_datasets, row_starts
from ...jobs.complementarity.params import Params
from ...jobs.complementarity.reference import Pair
from ...jobs.complementarity.reference import Run as Therapy
from ...jobs.complementarity.simulation import PairBatch
from ...jobs.complementarity.trajectories import ENACTED_SHIFT, UNDISTORTED_BIT, Trajectories
from ...shard.context import Context
from ...shard.errors import Exit, QuintetError
from ...shard.partial import REGISTERED_FILTERS, opened, update_digest
from ...shard.run import Run
from ..reduce import DIGEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

STUDY = "complementarity"
PHASE = "simulate"
OUTCOME = "rows/outcome/"
TRAJECTORY = "rows/traj/"
FLAGS = ("v2_success", "baseline_success", "v2_dropout", "baseline_dropout")
"""Names of bits 0..3 of the stored flags."""


@dataclass(frozen=True)
class Unit:
    """One config on one block of consecutive seeds; `position` is its row in the merged result."""

    position: int
    config_idx: int
    trial_number: int
    seed_start: int
    n_seeds: int
    max_sessions: int

    @property
    def seeds(self) -> NDArray[np.uint32]:
        """Seeds of the unit, u4[n_seeds]."""
        return np.arange(self.seed_start, self.seed_start + self.n_seeds, dtype=np.int64).astype(np.uint32)


@dataclass(frozen=True)
class StoredPair:
    """What is stored of one pair: `outcome` by name, and the packed bytes of each kept trajectory."""

    outcome: dict[str, Any]
    packed: dict[str, NDArray[np.uint8]]


class StoredRun:
    """A merged run, opened for reading what its partials hold of every (config, seed)."""

    def __init__(self, path: Path | str) -> None:
        """Open a run directory.

        Raises:
            QuintetError: exit 2 where it is no run of this study, 65 where the simulation is not merged, or its
                result is not what the plan says.
        """
        from ...shard.complementarity import kept_trajectories, layout_of, selected_configs

        run = Run.opened(path)
        study = run.overview().get("study")
        if study != STUDY:
            raise QuintetError(Exit.USAGE, f"{path}: a run of the study {study!r}; this needs one of {STUDY!r}")
        self.context = Context.of(run, PHASE)
        self.config = self.context.config
        self.kept = kept_trajectories(self.config)
        """Which packed trajectories the partials hold, out of "v2" and "baseline"."""
        rows = row_datasets(layout_of(self.config), self.kept)
        self._ragged = {row.name: row for row in rows if row.ragged}
        with self.context.result(PHASE) as file:
            unit_rows = [row for row in rows if row.name.startswith("rows/units/")]
            n_units = len(self._merged(file, unit_rows[0].name, unit_rows[0].dtype, (-1,)))
            columns = [self._merged(file, row.name, row.dtype, (n_units,)).tolist() for row in unit_rows]
            self._places = {
                name: self._merged(file, f"meta/index/{name}", "<i8", (n_units, 3)) for name in self._ragged
            }
            self._digests = {
                name: self._merged(file, f"index/{name}", "|u1", (n_units, DIGEST_BYTES)) for name in self._ragged
            }
        self.units = [Unit(position, *values) for position, values in enumerate(zip(*columns, strict=True))]
        self.configs: list[dict[str, Any]] = selected_configs(self.context)
        if any(not 0 <= unit.config_idx < len(self.configs) for unit in self.units):
            raise QuintetError(Exit.INPUT, f"{run.merged(PHASE)}: /rows/units/config_idx names a config not selected")

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.context.run.path

    def params(self, config_idx: int) -> Params:
        """Parameters of one config; exit 2 where there is none of that number."""
        if not 0 <= config_idx < len(self.configs):
            raise QuintetError(
                Exit.USAGE, f"--config-idx: found {config_idx}; this run has 0 .. {len(self.configs) - 1}"
            )
        chosen = self.configs[config_idx]
        params: Params = self.config.params(chosen["params"], chosen["max_sessions"])
        return params

    def units_of(self, config_idx: int) -> list[Unit]:
        """Units of one config by ascending seeds."""
        found = [unit for unit in self.units if unit.config_idx == config_idx]
        return sorted(found, key=lambda unit: unit.seed_start)

    def complete_configs(self) -> list[int]:
        """Configs of which no seed block is missing, ascending."""
        held = np.zeros(len(self.configs), np.int64)
        for unit in self.units:
            held[unit.config_idx] += unit.n_seeds
        return [int(k) for k in np.flatnonzero(held == self.config.simulate.n_seeds)]

    def outcomes(self, unit: Unit) -> dict[str, NDArray[Any]]:
        """Outcome columns of a unit by name (`category`, `flags`, ...), each [n_seeds]."""
        found = {}
        for name in self._ragged:
            if name.startswith(OUTCOME):
                found[name.removeprefix(OUTCOME)] = self._rows(unit, name, unit.n_seeds)
        return found

    def outcome(self, unit: Unit, name: str) -> NDArray[Any]:
        """One outcome column of a unit, [n_seeds]."""
        return self._rows(unit, OUTCOME + name, unit.n_seeds)

    def trajectories(self, unit: Unit, therapist: str) -> Trajectories:
        """Packed trajectories of a unit, run i that of seed `seed_start + i`.

        Args:
            unit: one of `units`.
            therapist: "v2" (the strategic therapist of the run) or "baseline".

        Raises:
            QuintetError: exit 2 where the run did not keep them, 65 where the stored bytes do not fit.
        """
        if therapist not in self.kept:
            kept = ", ".join(self.kept) or "none"
            raise QuintetError(Exit.USAGE, f"{self.path}: no trajectories of {therapist!r} were kept, only: {kept}")
        row_start = row_starts(self.outcome(unit, f"{therapist}_sessions"))
        packed = self._rows(unit, TRAJECTORY + therapist, int(row_start[-1]))
        return Trajectories(packed, row_start, unit.seeds, self.params(unit.config_idx).pattern)

    def locate(self, config_idx: int, seed: int) -> tuple[Unit, int]:
        """Unit of a pair, and its place in there; exit 2 where the run has no such pair."""
        self.params(config_idx)
        for unit in self.units_of(config_idx):
            if 0 <= seed - unit.seed_start < unit.n_seeds:
                return unit, seed - unit.seed_start
        first = self.config.simulate.seed_offset
        last = first + self.config.simulate.n_seeds - 1
        if first <= seed <= last:
            raise QuintetError(Exit.USAGE, f"--seed: found {seed}; its seed block is missing from this run's result")
        raise QuintetError(Exit.USAGE, f"--seed: found {seed}; this run has {first} .. {last}")

    def pair(self, config_idx: int, seed: int) -> StoredPair:
        """What is stored of one pair; exit 2 where the run has no such pair."""
        unit, place = self.locate(config_idx, seed)
        outcome = {name: column[place] for name, column in self.outcomes(unit).items()}
        return StoredPair(outcome, {name: self.trajectories(unit, name).row(place) for name in self.kept})

    def _merged(self, file: h5py.File, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """A whole dataset of the merged result; -1 in `shape` stands for any length."""
        dataset = checked(file, name, dtype, len(shape), self.context.run.merged(PHASE))
        if any(expected not in (-1, found) for expected, found in zip(shape, dataset.shape, strict=True)):
            raise refused(self.context.run.merged(PHASE), f"/{name} has shape {dataset.shape}, expected {shape}")
        return np.asarray(dataset[()])

    def _rows(self, unit: Unit, name: str, expected: int) -> NDArray[Any]:
        """A unit's rows of a dataset that lies in a partial, equal to what was merged by their digest."""
        row: RowDataset = self._ragged[name]
        number, begin, length = self._places[name][unit.position].tolist()
        path = self.context.run.shard_file(PHASE, number)
        if length != expected:
            raise refused(path, f"/{name} has {length} rows for a unit that needs {expected}")
        try:
            with opened(path) as file:
                dataset = checked(file, name, row.dtype, 1, path)
                if begin < 0 or begin + length > dataset.shape[0]:
                    raise refused(path, f"/{name} has {dataset.shape[0]} rows, the index says {begin + length}")
                rows = np.asarray(dataset[begin : begin + length])
        except (OSError, RuntimeError) as error:
            raise refused(path, f"cannot be read ({error})") from None
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        update_digest(digest, name, rows)
        if digest.digest() != self._digests[name][unit.position].tobytes():
            raise refused(path, f"/{name} of config {unit.config_idx} is not what was merged")
        return rows


def checked(file: h5py.File, name: str, dtype: str, ndim: int, path: Path) -> h5py.Dataset:
    """A dataset of that dtype and number of axes under hard links, stored in the file; exit 65 otherwise."""
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        if not isinstance(file.get("/".join(parts[:depth]), getlink=True), h5py.HardLink):
            raise refused(path, f"/{name} is missing")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype != np.dtype(dtype) or len(dataset.shape) != ndim:
        raise refused(path, f"/{name} is not {np.dtype(dtype)} of {ndim} axes")
    properties = dataset.id.get_create_plist()
    filters = {properties.get_filter(k)[0] for k in range(properties.get_nfilters())}
    if dataset.is_virtual or properties.get_external_count() or not filters <= REGISTERED_FILTERS:
        raise refused(path, f"/{name} is stored outside the file or by a foreign filter")
    return dataset


def refused(path: Path, why: str) -> QuintetError:
    """The error of a file that is not what the plan or the index says."""
    return QuintetError(Exit.INPUT, f"{path}: {why}; merge the run again after bin/verify RUN --quarantine")


def packed_bytes(run: Therapy) -> NDArray[np.uint8]:
    """The bytes that a therapy of the plain program is stored as, u1[sessions]; see `Trajectories`."""
    undistorted = np.where(run.enacted == run.perceived, UNDISTORTED_BIT, np.uint8(0))
    return np.asarray(run.client | run.enacted << ENACTED_SHIFT | undistorted, np.uint8)


def outcome_columns(pairs: PairBatch | Pair) -> dict[str, NDArray[Any]]:
    """Outcomes as they are stored, by name; a single pair gives columns of one row."""
    flags = sum(np.atleast_1d(getattr(pairs, name)).astype(np.uint8) << bit for bit, name in enumerate(FLAGS))
    kinds = {
        "category": "|u1",
        "v2_sessions": "<u2",
        "baseline_sessions": "<u2",
        "fork_session": "<u2",
        "v2_final_rs": "<f4",
        "baseline_final_rs": "<f4",
        "v2_final_bond": "<f4",
    }
    columns = {name: np.atleast_1d(np.asarray(getattr(pairs, name), kind)) for name, kind in kinds.items()}
    return {**columns, "flags": np.asarray(flags, np.uint8)}


def differing(expected: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, int]]:
    """Yield (column, row) wherever two sets of equally long columns differ in a byte."""
    for name, column in expected.items():
        one = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), -1)
        other = np.ascontiguousarray(found[name]).view(np.uint8).reshape(len(column), -1)
        for row in np.flatnonzero((one != other).any(axis=1)):
            yield name, int(row)
