"""The phase solve: one problem is a long unit that goes on from its last complete level."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.derived import deactivation, freed_first
from ...jobs.induction.graph import build
from ...jobs.induction.levels import PowerlessError
from ...jobs.induction.memory import KERNELS, LIBRARIES, predicted_bytes
from ...jobs.induction.samples import has_devices
from ...jobs.induction.solution import AT_ROOT, Solution
from ...jobs.induction.solver import Solver, solve
from ...jobs.induction.transitions import StoredTransitions
from ..attempts import peak_rss_mb
from ..memory import resident_mb
from ..phases import Task
from .build_phase import built_graph, user_seconds
from .index import as_bytes, one_unit, padded
from .pressure import Ladder, Memory, Provider, Step, memory_now, stopped_for_memory, too_large
from .spill import LevelStore, check_space, spill_base, spill_folder
from .table import STRUCTURES, kept_values, predicted_table, shape_of, stored_dtype
from .worlds import Case, cases

if TYPE_CHECKING:
    from ...jobs.induction.config import Config
    from ..context import Context
    from ..errors import QuintetError

LEAST_ROW_CHUNK = 1024
FORMAT = 1
AFTER_ALL_LEVELS = -1.0


class SolveWork:
    """Solves problems."""

    def __init__(self, context: Context, provider: Provider = memory_now) -> None:
        """Keep the context."""
        self._context, self._provider = context, provider

    def block(self, units: range) -> Task:
        """Return the task of one problem."""
        return SolveTask(self._context, cases(self._context.config)[units.start], self._provider)


def loaded_kernels_mb(case: Case) -> float:
    """Load the kernels by a problem of one step; return the resident memory with them, in MB."""
    with suppress(PowerlessError), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        solve(build(case.world, 1), case.params)
    return resident_mb()


class SolveTask:
    """One problem, a chunk of rows at a time."""

    def __init__(self, context: Context, case: Case, provider: Provider) -> None:
        """Keep the problem; the graph is read by the first `advance` or by `restore`."""
        self._context, self._case, self._provider = context, case, provider
        self._config: Config = context.config
        self._solver: Solver | None = None
        self._error = ""
        self._derived: dict[str, Any] | None = None
        self._timing: list[tuple[float, ...]] = []
        self._started = (user_seconds(), time.monotonic())
        self._loaded_mb = (resident_mb(), resident_mb())
        self._graph_in_memory = True

    # ---- making ready

    def _owner(self) -> str:
        return f"{self._context.run.path.resolve()}/solve/{self._case.number}"

    def _folder(self) -> Path:
        settings, run = self._case.settings, self._context.run
        base = spill_base(settings.get("spill_dir"), self._config.allow_tmpfs, run.path)
        folder = spill_folder(base, self._owner())
        check_space(folder, self._level_bytes())
        return folder

    def _predicted(self, level_sizes: list[int], spills: bool) -> dict[str, int]:
        settings = self._case.settings
        return predicted_bytes(
            self._case.world,
            level_sizes,
            storage_dtype=settings["storage_dtype"],
            keep_policies=settings["keep_policies"],
            spills=spills,
            row_chunk=settings["row_chunk"] if not spills else min(settings["row_chunk"], LEAST_ROW_CHUNK),
        )

    def _level_bytes(self) -> int:
        found = self._predicted(self._sizes, False)
        return found["kept values"] + found["kept policies"]

    def _need(self, level_sizes: list[int]) -> int:
        """Bytes with everything spilled, the levels that are published at the end included."""
        whole = self._predicted(level_sizes, False)
        return self._predicted(level_sizes, True)["total"] + whole["kept values"] + whole["kept policies"]

    def _spills_at_once(self) -> bool:
        settings = self._case.settings
        if settings["spill"] != "auto":
            return bool(settings["spill"] == "always")
        if self._config.min_free_memory_fraction == 0.0 or self._config.on_low_memory != "spill":
            return False
        memory = self._provider()
        need = self._predicted(self._sizes, False)["total"] - LIBRARIES - KERNELS
        return memory.available - need < self._config.min_free_memory_fraction * memory.limit

    def _prepare(self, state: Mapping[str, Any] | None = None) -> Solver:
        case, settings = self._case, self._case.settings
        self._graph = built_graph(self._context, case.world, case.world_number, case.max_steps, False)
        self._sizes = list(self._graph.level_sizes)
        self._store = LevelStore(self._folder, settings["compression"])
        self._loaded_mb = (resident_mb(), loaded_kernels_mb(case))
        self._started = (user_seconds(), time.monotonic())
        spilled = state is not None and bool(state["spill_folder"])
        if spilled and state is not None:
            self._store.reopen(Path(state["spill_folder"]))
        elif state is None and self._spills_at_once():
            self._store.to_disk()
        if not self._store.on_disk:
            self._graph = built_graph(self._context, case.world, case.world_number, case.max_steps, True)
        self._graph_in_memory = not self._store.on_disk
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            solver = Solver(
                self._graph,
                case.params,
                storage_dtype=settings["storage_dtype"],
                keep_policies=settings["keep_policies"],
                row_chunk=settings["row_chunk"],
                threads=int(self._context.plan.resources.get("threads", 1)),
                spill=self._store,
            )
        self._ladder = Ladder(
            [
                Step("finished levels written out", self._store.to_disk),
                Step("transitions streamed from the build", self._stream_transitions),
                Step("row chunk halved", self._halve_chunk),
            ],
            self._give_up,
            fraction=self._config.min_free_memory_fraction,
            on_low=self._config.on_low_memory,
            pause_s=self._config.memory_pause_duration,
            interval=self._config.memory_check_interval,
            provider=self._provider,
        )
        self._clock(case.max_steps, len(self._graph.keys))
        self._solver = solver
        return solver

    # ---- making room

    def _stream_transitions(self) -> bool:
        if not self._graph_in_memory or self._solver is None:
            return False
        case = self._case
        streamed = built_graph(self._context, case.world, case.world_number, case.max_steps, False)
        self._graph.transitions = streamed.transitions
        self._graph_in_memory = False
        self._solver.reread()
        return True

    def _halve_chunk(self) -> bool:
        solver = self._solver
        if solver is None or solver.row_chunk <= LEAST_ROW_CHUNK:
            return False
        solver.row_chunk = max(LEAST_ROW_CHUNK, solver.row_chunk // 2)
        return True

    def _give_up(self, memory: Memory) -> QuintetError:
        need = self._need(self._sizes)
        if need > memory.limit:
            fits = 0
            for horizon in range(1, self._case.max_steps + 1):
                if self._need(self._sizes[: horizon + 1]) > memory.limit:
                    break
                fits = horizon
            self._store.close()
            return too_large(fits, need, memory)
        return stopped_for_memory(memory, "finished levels are kept, start it again")

    # ---- the task

    def _clock(self, level: float, rows: float) -> None:
        user, wall = user_seconds(), time.monotonic()
        self._timing.append((level, rows, user - self._started[0], wall - self._started[1], resident_mb()))
        self._started = (user, wall)

    def advance(self) -> bool:
        """Read the graph, compute one chunk of rows, or what follows from all levels."""
        if self._error:
            return False
        if self._solver is None:
            self._prepare()
            return True
        solver = self._solver
        if solver.is_done:
            self._derive(solver.solution())
            return False
        self._ladder.check()
        level = solver.level
        try:
            solver.advance()
        except PowerlessError as error:
            self._error = str(error.args[0])
            self._store.close()
            print(f"problem {self._case.number}: {self._error}", file=sys.stderr)
            return False
        if solver.level != level:
            self._clock(level, self._sizes[level])
        return True

    def _derive(self, solution: Solution) -> None:
        case = self._case
        root = {name: np.asarray(solution.root_by_horizon[name]) for name in AT_ROOT}
        keeps = case.settings["keep_policies"] != "none"
        humans = len(case.world.humans)
        root["first"] = freed_first(self._graph, solution) if keeps else np.empty((0, humans + 2))
        has = keeps and has_devices(case.world)
        root["disabled"] = deactivation(self._graph, solution) if has else np.empty((0, 2))
        self._derived = root
        self._clock(AFTER_ALL_LEVELS, self._sizes[-2])

    def state(self) -> Mapping[str, Any] | None:
        """Return the finished levels, or where on disk they are, and what the next one needs."""
        solver = self._solver
        if solver is None or self._error:
            return None
        self._store.flush()
        kept = {f"solver/{name}": array for name, array in solver.state().items() if name != "level"}
        finished = {
            f"store/{name}": array
            for name, array in self._store.in_memory().items()
            if int(name.split("/")[1]) > solver.level
        }
        return {
            "format": FORMAT,
            "level": solver.level,
            "spill_folder": str(self._store.folder) if self._store.on_disk else "",
            "timing": np.array(self._timing, np.float64),
            **kept,
            **finished,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on behind the last complete level; start afresh where the spilled levels are gone."""
        folder = state["spill_folder"]
        if folder and not Path(folder).is_dir():
            print(f"{folder}: the spilled levels are gone; the problem starts afresh", file=sys.stderr)
            return
        solver = self._prepare(state)
        if not folder:
            arrays = {name: np.asarray(array) for name, array in state.items() if name.startswith("store/")}
            self._store.remember({name.removeprefix("store/"): array for name, array in arrays.items()})
        kept = {name.removeprefix("solver/"): array for name, array in state.items() if name.startswith("solver/")}
        solver.restore({"level": np.array(state["level"], np.int64), **kept})
        self._timing = [tuple(row) for row in np.asarray(state["timing"]).tolist()]

    def result(self) -> dict[str, Any]:
        """Return levels, root tables, and the account of memory and time; only its reason where the problem failed."""
        case, config = self._case, self._config
        shape = shape_of(config)
        arrays: dict[str, Any] = {"rows/error": as_bytes(self._error), "rows/params": self._params()}
        root = self._derived or {}
        for dataset in self._context.phase.datasets:
            name = dataset.name.rsplit("/", 1)[-1]
            if dataset.name.startswith("rows/root_by_horizon/"):
                arrays[dataset.name] = padded(root[name], dataset.shape) if root else np.empty((0, *dataset.shape))
        arrays |= self._levels(shape)
        arrays["rows/level_sizes"] = np.array(self._sizes, np.int64)
        arrays["meta/timing"] = np.array(self._timing, np.float64)
        arrays["meta/memory_steps"] = as_bytes(", ".join(self._ladder.taken))
        measured = self._measured()
        self._store.close()
        chance = int(self._graph.n_outcomes - self._graph.n_expanded * case.world.n_profiles)
        return {
            **one_unit(arrays),
            "rows/status": [int(bool(self._error))],
            "rows/max_steps": [case.max_steps],
            "rows/world_number": [case.world_number],
            "rows/memory_predicted": [predicted_table(case, self._sizes, max(chance, 0))],
            "meta/memory_measured": [measured],
        }

    def _params(self) -> Any:
        shown = {
            key: value
            for key, value in self._case.settings.items()
            if key not in ("spill", "spill_dir", "compression", "row_chunk", "world")
        }
        from ...jobs.induction.config import json_values

        return as_bytes(json.dumps(json_values(shown), sort_keys=True))

    def _levels(self, shape: Any) -> dict[str, Any]:
        settings = [case.settings for case in cases(self._config)]
        stored = stored_dtype([item["storage_dtype"] for item in settings])
        keeps = [item["keep_policies"] for item in settings]
        keep = next(name for name in ("all", "robot", "none") if name in keeps)
        longest = max(case.max_steps for case in cases(self._config))
        own = {name for name, _, _ in kept_values(shape, stored, self._case.settings["keep_policies"])}
        solution = None if self._error or self._solver is None else self._solver.solution()
        found: dict[str, Any] = {}
        for t in range(longest):
            for name, dtype, rest in kept_values(shape, stored, keep):
                array = np.empty((0, *rest), dtype)
                if solution is not None and t < self._case.max_steps and name in own:
                    array = padded(getattr(solution, name)[t].astype(dtype, copy=False), rest)
                found[f"rows/level/{t:04d}/{name}"] = array
        return found

    def _measured(self) -> list[int]:
        """Measured bytes of what is in memory at the end, in the order of `STRUCTURES`."""
        graph, solver = self._graph, self._solver
        kept = self._store.in_memory() if solver is not None else {}
        policies = ("Qr", "pi_r", "m_h", "pi_h")
        transitions = 0
        if self._graph_in_memory and isinstance(graph.transitions, StoredTransitions):
            transitions = graph.n_expanded * self._case.world.n_profiles * 4
        values = 0 if solver is None else solver.table_bytes
        found = {
            "keys": graph.keys.nbytes,
            "human cells": graph.human_cell.nbytes,
            "transitions": transitions,
            "value levels": values,
            "kept values": sum(a.nbytes for name, a in kept.items() if name.rsplit("/", 1)[-1] not in policies),
            "kept policies": sum(a.nbytes for name, a in kept.items() if name.rsplit("/", 1)[-1] in policies),
            "libraries": int(self._loaded_mb[0] * 1e6),
            "kernels": int((self._loaded_mb[1] - self._loaded_mb[0]) * 1e6),
            "total": int(peak_rss_mb() * 1e6),
        }
        return [found[name] for name in STRUCTURES]
