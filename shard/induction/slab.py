"""The work of mode slab: expand, resolve and back, and what their merges find out."""

from __future__ import annotations

import atexit
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.derived import chain_step, disabled, first_passage
from ...jobs.induction.expansion import expand, resolve
from ...jobs.induction.graph import StateGraph, TooManyStatesError, attained_goals
from ...jobs.induction.kernel.backward import Rows
from ...jobs.induction.levels import (
    PowerlessError,
    Tables,
    Values,
    backward,
    empty_values,
    entering_tables,
    model_at,
    model_of,
    terminal_tables,
)
from ...jobs.induction.samples import has_devices
from ...jobs.induction.solution import AT_ROOT
from ...jobs.induction.transitions import TransitionBlocks
from ..errors import Exit, QuintetError
from ..phases import Once, Task
from .index import UnitRows, in_order, one_unit, padded, unit_rows
from .slab_keys import as_stored, as_words, joined, places, without
from .slab_table import HEAD, back_name, expand_name, head_levels
from .spill import remove_folder, spill_base, spill_folder
from .table import shape_of
from .worlds import cases

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...jobs.induction.config import Config
    from ...jobs.induction.world import World
    from ..context import Context
    from .slab_keys import Keys

ASSEMBLY_ROWS = 65536


# ---- numbers


def depth_keys(context: Context, depth: int) -> Keys:
    """Return the keys of the configurations of a depth, sorted, u8 [n, w]."""
    world = cases(context.config)[0].world
    if depth == 0:
        return world.packing.key(world.packing.vector(world.initial_state))[None, :]
    with context.result(expand_name(depth - 1)) as file:
        return as_words(file["derived/new_key"][()]).reshape(-1, world.packing.n_words)


def level_sizes(context: Context, levels: int) -> list[int]:
    """Return N_t for t = 0 to levels - 1."""
    sizes = [1]
    for depth in range(1, levels):
        with context.result(expand_name(depth - 1)) as file:
            sizes.append(sizes[-1] + len(file["derived/new_key"]))
    return sizes


def late_units(context: Context) -> int:
    """Return how many units a phase has, from the results of earlier ones."""
    name = context.phase.name
    kind, _, number = name.partition("-")
    if kind == "expand":
        return len(depth_keys(context, int(number)))
    horizon = context.config.worlds[0].max_steps
    if kind == "resolve":
        return sum(context.run.plan(expand_name(depth)).blocks for depth in range(horizon))
    return level_sizes(context, int(number) + 1)[-1]


def new_keys(context: Context, parts: Iterator[Keys]) -> NDArray[np.uint64]:
    """Return the keys of the next depth: those of the parts that no depth so far holds."""
    depth = int(context.phase.name.partition("-")[2])
    found = np.empty((0, cases(context.config)[0].world.packing.n_words), np.uint64)
    for part in parts:
        found = joined(found, part)
    for earlier in range(depth + 1):
        found = without(found, depth_keys(context, earlier))
    check_states(context, [*level_sizes(context, depth + 1), len(found)])
    return as_stored(found)


def check_states(context: Context, sizes: list[int]) -> None:
    """Refuse more states than `max_states`: exit 65 with the horizon that fits; the last number is what is new."""
    limit = context.config.max_states
    levels = [*sizes[:-1], sizes[-2] + sizes[-1]]
    if limit is not None and sum(levels) > limit:
        raise QuintetError(Exit.INPUT, str(TooManyStatesError(limit, levels)))


def graph_facts(context: Context) -> dict[str, NDArray[Any]]:
    """Return what the merge of resolve adds for all configurations.

    Returns:
        key u8 [C] or [C, w]; depth_offsets i8 [T + 2]; human_cell u2 [C, H]; freed bool [C, H]; with devices also
        disabled f8 [C, 2].
    """
    config: Config = context.config
    world, horizon = cases(config)[0].world, config.worlds[0].max_steps
    depths = [depth_keys(context, depth) for depth in range(horizon + 1)]
    sizes = np.cumsum([len(keys) for keys in depths])
    graph = StateGraph(world, np.concatenate(depths), [int(size) for size in sizes], TransitionBlocks(), 0)
    facts: dict[str, NDArray[Any]] = {
        "key": as_stored(graph.keys),
        "depth_offsets": np.concatenate([[0], sizes]),
        "human_cell": graph.human_cell,
        "freed": graph.freed,
    }
    return facts | ({"disabled": disabled(graph)} if has_devices(world) else {})


# ---- transitions


def block_rows(parts: dict[str, UnitRows], n_profiles: int) -> Rows:
    """Return the transitions of one block, whose exceptions are numbered from 0."""
    ptr = parts["exc_ptr"][:]
    succ = np.ascontiguousarray(parts["succ"][:][:, :n_profiles], np.int32)
    return Rows(
        succ,
        0,
        np.ascontiguousarray(ptr, np.int64),
        np.ascontiguousarray(parts["exc_succ"][:], np.int32),
        np.ascontiguousarray(parts["exc_prob"][:], np.float64),
    )


class Transitions:
    """Numbered transitions of all expanded configurations, block by block."""

    def __init__(self, context: Context, sizes: list[int]) -> None:
        self._parts = {
            name: unit_rows(context, "resolve", f"rows/trans/{name}")
            for name in ("succ", "exc_ptr", "exc_succ", "exc_prob")
        }
        self._n_profiles = cases(context.config)[0].world.n_profiles
        lengths = [len(part) for part in self._parts["succ"]]
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        assert self._starts[-1] == sizes[-2]

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, Rows]]:
        """Yield (first row, transitions) of rows start to stop - 1."""
        first = int(np.searchsorted(self._starts, start, "right")) - 1
        for unit in range(first, len(self._starts) - 1):
            begin = int(self._starts[unit])
            if begin >= stop:
                return
            rows = block_rows({name: parts[unit] for name, parts in self._parts.items()}, self._n_profiles)
            low, high = max(start - begin, 0), min(stop - begin, len(rows.succ))
            yield begin + low, rows._replace(succ=rows.succ[low:high])


# ---- the work


class SlabWork:
    """The work of one slab phase in one process."""

    def __init__(self, context: Context) -> None:
        """Keep the context."""
        self._context = context
        self._config: Config = context.config
        self._case = cases(self._config)[0]
        self._world: World = self._case.world
        self._kind, _, self._number = context.phase.name.partition("-")

    def block(self, units: range) -> Task:
        """Return the task of some units."""
        if self._kind == "expand":
            return Once(self._expand, units)
        if self._kind == "resolve":
            return Once(self._resolve, units.start)
        if self._context.phase.name == HEAD:
            return HeadTask(self)
        return Once(self._back, units)

    @cached_property
    def _sources(self) -> Keys:
        return depth_keys(self._context, int(self._number))

    def _expand(self, units: range) -> dict[str, Any]:
        found = expand(self._world.packing, self._sources[units.start : units.stop])
        n, shape = len(units), shape_of(self._config)
        once = np.zeros(n, np.int64)
        per_block: dict[str, NDArray[Any]] = {
            "successor_key": as_stored(found.keys),
            "trans/exc_ptr": found.rows.exc_ptr,
            "trans/exc_succ": found.rows.exc_succ,
            "trans/exc_prob": found.rows.exc_prob,
        }
        payload: dict[str, Any] = {
            "rows/trans/succ": padded(found.rows.succ, (shape.profiles,)),
            "rows/trans/succ_length": np.ones(n, np.int64),
        }
        for name, array in per_block.items():
            length = once.copy()
            length[0] = len(array)  # the block's arrays stand with its first unit
            payload |= {f"rows/{name}": array, f"rows/{name}_length": length}
        return payload

    @cached_property
    def _depths(self) -> list[Keys]:
        horizon = self._config.worlds[0].max_steps
        return [depth_keys(self._context, depth) for depth in range(horizon + 1)]

    def _numbers(self, keys: Keys) -> NDArray[np.int32]:
        """The numbers of configurations, i4 [n]."""
        numbers, first = np.full(len(keys), -1, np.int64), 0
        for run in self._depths:
            found = places(run, keys)
            numbers = np.where(found >= 0, found + first, numbers)
            first += len(run)
        if (numbers < 0).any():
            raise QuintetError(Exit.INPUT, "resolve: a successor is in no depth; merge the expand phases again")
        return numbers.astype(np.int32)

    def _resolve(self, unit: int) -> dict[str, Any]:
        depth, block = 0, unit
        while block >= (blocks := self._context.run.plan(expand_name(depth)).blocks):
            depth, block = depth + 1, block - blocks
        phase = expand_name(depth)
        units = self._context.run.plan(phase).units_of(block)
        parts = {
            name: unit_rows(self._context, phase, f"rows/trans/{name}", range(units.start, units.start + 1))[0]
            for name in ("exc_ptr", "exc_succ", "exc_prob")
        }
        succ = unit_rows(self._context, phase, "rows/trans/succ", units)
        keys = unit_rows(self._context, phase, "rows/successor_key", range(units.start, units.start + 1))[0][:]
        rows = Rows(
            np.concatenate(list(in_order(succ, 0, len(units))))[:, : self._world.n_profiles],
            0,
            parts["exc_ptr"][:],
            parts["exc_succ"][:],
            parts["exc_prob"][:],
        )
        rows = resolve(rows, self._numbers(as_words(keys).reshape(-1, self._world.packing.n_words)))
        shape = shape_of(self._config)
        return one_unit(
            {
                "rows/trans/succ": padded(rows.succ, (shape.profiles,)),
                "rows/trans/exc_ptr": rows.exc_ptr,
                "rows/trans/exc_succ": rows.exc_succ,
                "rows/trans/exc_prob": rows.exc_prob,
            }
        )

    # ---- backward

    @cached_property
    def facts(self) -> dict[str, NDArray[Any]]:
        """Facts of all configurations, as the merge of resolve has found them."""
        with self._context.result("resolve") as file:
            return {name: data[()] for name, data in file["derived"].items()}

    @cached_property
    def sizes(self) -> list[int]:
        """N_t for t = 0..T."""
        return [int(size) for size in self.facts["depth_offsets"][1:]]

    @cached_property
    def transitions(self) -> Transitions:
        """The numbered transitions."""
        return Transitions(self._context, self.sizes)

    @cached_property
    def attained(self) -> NDArray[np.bool_]:
        """Which goals are attained on which cell."""
        return attained_goals(self._world)

    @cached_property
    def model(self) -> Any:
        """The theory as the kernels take it."""
        return model_of(self._world, self._case.params)

    def following(self, t: int) -> tuple[Tables, NDArray[np.float64]]:
        """Return what level t + 1 is worth to those who enter it, and its chain values, mapped from a scratch file."""
        n, horizon = self.sizes[t + 1], self._config.worlds[0].max_steps
        cells = self.facts["human_cell"][:n]
        if t + 1 == horizon:
            return terminal_tables(cells, self.attained, self._case.params), self.terminal_chain(n)
        width = cells.shape[1] * len(self._world.goals)
        folder = self._scratch_folder()

        def mapped(name: str, *shape: int) -> Any:
            return np.memmap(folder / name, np.float64, "w+", shape=shape)

        chain = mapped("chain", n, self.terminal_chain(0).shape[1])
        tables = Tables(mapped("Wm", n, width), mapped("We", n, width), mapped("Vr", n))
        name = back_name(t + 1)
        parts = {key: unit_rows(self._context, name, f"rows/{key}") for key in self._kept_names()}
        for low in range(0, n, ASSEMBLY_ROWS):
            high = min(low + ASSEMBLY_ROWS, n)
            values = {key: np.concatenate(list(in_order(rows, low, high))) for key, rows in parts.items()}
            part = Tables(*(table[low:high] for table in tables))
            entering_tables(
                values["Vm"], values["Ve"], values["Vr"], cells[low:high], self.attained, self._case.params, part
            )
            chain[low:high] = np.concatenate([values["first"], *([values["disabled"]] if self.has_devices else [])], 1)
        return tables, chain

    def _scratch_folder(self) -> Path:
        config, run = self._config, self._context.run
        base = spill_base(config.spill_dir, config.allow_tmpfs, run.path)
        folder = spill_folder(base, f"{run.path.resolve()}/{self._context.phase.name}")
        atexit.register(remove_folder, folder)
        return folder

    def _kept_names(self) -> tuple[str, ...]:
        return ("Vm", "Ve", "Vr", "first", *(("disabled",) if self.has_devices else ()))

    @cached_property
    def has_devices(self) -> bool:
        """Whether the world has a pause switch or a kill button."""
        return has_devices(self._world)

    def terminal_chain(self, n: int) -> NDArray[np.float64]:
        """Return who has been freed first, and what is disabled, at the horizon: f8 [n, H + 2 (+ 2)]."""
        first = first_passage(self.facts["freed"][:n])
        return np.concatenate([first, self.facts["disabled"][:n]], axis=1) if self.has_devices else first

    @cached_property
    def _table(self) -> tuple[Tables, NDArray[np.float64]]:
        return self.following(int(self._number))

    def rows_of(
        self, t: int, start: int, stop: int, table: tuple[Tables, NDArray[np.float64]]
    ) -> tuple[Values, NDArray[np.float64]]:
        """Return values, and chain values, of rows of level t from what the next one is worth."""
        following, chain = table
        humans, model = len(self._world.humans), model_at(self.model, self._config.worlds[0].max_steps - t)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            values = empty_values(self.model, stop - start, self._case.settings["keep_policies"] == "all")
        out = np.empty((stop - start, chain.shape[1]))
        for first, rows in self.transitions.pieces(start, stop):
            span = slice(first - start, first - start + len(rows.succ))
            cells = self.facts["human_cell"][first : first + len(rows.succ)]
            part = Values(*(array[span] if len(array) else array for array in values))
            try:
                backward(model, rows, following, cells, self.attained, into=part)
            except PowerlessError as error:
                raise self._powerless(first + int(error.args[1]), int(error.args[2])) from None
            freed = self.facts["freed"][first : first + len(rows.succ)]
            out[span, : humans + 2] = first_passage(freed)
            pi_r, m_h = np.ascontiguousarray(part.pi_r), np.ascontiguousarray(part.m_h)
            for columns, absorbed in (
                (slice(0, humans + 2), np.asarray(freed.any(axis=1))),
                (slice(humans + 2, None), np.zeros(len(freed), np.bool_)),
            ):
                values_after = np.ascontiguousarray(chain[:, columns])
                if values_after.shape[1]:
                    found = np.ascontiguousarray(out[span, columns])
                    chain_step(self.model, rows, pi_r, m_h, values_after, absorbed, found)
                    out[span, columns] = found
        return values, out

    def _powerless(self, row: int, human: int) -> QuintetError:
        packing = self._world.packing
        state = packing.state(0, packing.vectors(as_words(self.facts["key"][row : row + 1]))[0])
        agent = state[1][self._world.humans[human]]
        return QuintetError(
            Exit.USAGE,
            f"human {human} has power X_h = 0 in configuration {state[1:]}: no goal can be attained from its cell "
            f"({agent[0]},{agent[1]}); add a goal covering that cell, or set power_floor (--power-floor)",
        )

    def rounded(self, values: Values) -> Values:
        """Return values with V^m and V^e as they are stored."""
        dtype = np.dtype(self._case.settings["storage_dtype"])
        return values._replace(Vm=values.Vm.astype(dtype), Ve=values.Ve.astype(dtype))

    def root_row(self, values: Values, chain: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """Return the tables of the root from the row 0 of a level, each [1, ...]."""
        humans = len(self._world.humans)
        row = {f"rows/root/{name}": getattr(values, name)[:1] for name in AT_ROOT}
        rest = chain[:1, humans + 2 :]
        row |= {"rows/root/first": chain[:1, : humans + 2], "rows/root/disabled": rest if rest.shape[1] else rest[:0]}
        row["rows/root/disabled"] = row["rows/root/disabled"].reshape(-1, 2)
        return row

    def _back(self, units: range) -> dict[str, Any]:
        values, chain = self.rows_of(int(self._number), units.start, units.stop, self._table)
        humans, kept = len(self._world.humans), self.rounded(values)._asdict()
        kept |= {"first": chain[:, : humans + 2], "disabled": chain[:, humans + 2 :]}
        payload = {
            dataset.name: kept[dataset.name.removeprefix("rows/")]
            for dataset in self._context.phase.datasets
            if not dataset.name.startswith("rows/root/")
        }
        length = np.zeros(len(units), np.int64)
        for name, row in self.root_row(values, chain).items():
            held = row if units.start == 0 else row[:0]
            length[0] = len(held)
            payload |= {name: held, f"{name}_length": length.copy()}
        return payload


class HeadTask:
    """The small levels, one after another in one process."""

    def __init__(self, work: SlabWork) -> None:
        """Begin behind the highest of them."""
        self._work = work
        self._level = head_levels(work._config) - 1
        self._kept: dict[str, Any] = {}
        self._roots: list[dict[str, Any]] = []
        self._table: tuple[Tables, NDArray[np.float64]] | None = None

    def advance(self) -> bool:
        """Compute one level."""
        work, t = self._work, self._level
        table = self._table or work.following(t)
        n = work.sizes[t]
        values, chain = work.rows_of(t, 0, n, table)
        stored = work.rounded(values)
        self._kept |= {f"rows/level/{t:04d}/{name}": array for name, array in stored._asdict().items()}
        self._roots.append(work.root_row(values, chain))
        cells = work.facts["human_cell"][:n]
        entering = entering_tables(stored.Vm, stored.Ve, values.Vr, cells, work.attained, work._case.params)
        self._table, self._level = (entering, chain), t - 1
        return t > 0

    def state(self) -> None:
        """Return nothing: these levels are done in seconds."""
        return

    def restore(self, state: Any) -> None:
        """Refuse: nothing was ever saved."""
        raise ValueError("the head levels have no state")

    def result(self) -> dict[str, Any]:
        """Return the levels and their roots, the highest level first."""
        datasets = {dataset.name for dataset in self._work._context.phase.datasets}
        roots = {name: np.concatenate([row[name] for row in self._roots]) for name in self._roots[0]}
        return one_unit({name: array for name, array in (self._kept | roots).items() if name in datasets})
