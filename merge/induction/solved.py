"""A merged solve or slab run as its figures see it: problems with their graphs, roots and levels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.graph import StateGraph
from ...jobs.induction.solution import KEPT, Solution, StoredLevels
from ...jobs.induction.transitions import TransitionBlocks
from ...shard.context import Context
from ...shard.induction.build_phase import built_graph
from ...shard.induction.index import UnitRows, in_order, text_of, unit_of, unit_rows
from ...shard.induction.slab_keys import as_words
from ...shard.induction.slab_table import HEAD, back_name, head_levels
from ...shard.induction.table import STRUCTURES, TIMING, predicted_table
from ...shard.induction.worlds import Case, cases

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...jobs.induction.world import World

ROOT = ("Vm", "Ve", "Vr", "Xh", "Qr", "pi_r", "m_h", "first", "disabled")


class ResultLevels:
    """Levels in the partials of a run, read as `jobs.induction.Store` is."""

    def __init__(self, context: Context, case: Case) -> None:
        self._context, self._case = context, case

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return rows start to stop - 1 of `level/<t>/<name>`."""
        array = np.concatenate(list(in_order(self._parts(name), start, stop)))
        return array[(slice(None), *self._width(name.rsplit("/", 1)[-1]))]

    def _parts(self, name: str) -> list[UnitRows]:
        context, t = self._context, int(name.split("/")[1])
        if context.config.mode != "slab":
            return unit_rows(context, "solve", f"rows/{name}", range(self._case.number, self._case.number + 1))
        if t < head_levels(context.config):
            return unit_rows(context, HEAD, f"rows/{name}")
        return unit_rows(context, back_name(t), f"rows/{name.rsplit('/', 1)[-1]}")

    def _width(self, name: str) -> tuple[slice, ...]:
        world = self._case.world
        humans, goals, actions = len(world.humans), len(world.goals), world.n_actions
        widths: dict[str, tuple[int, ...]] = {
            "Vm": (humans, goals),
            "Ve": (humans, goals),
            "Xh": (humans,),
            "Qr": (world.n_robot_profiles,),
            "pi_r": (world.n_robot_profiles,),
            "pi_h": (humans, goals, actions),
        }
        return tuple(slice(0, width) for width in widths.get(name, ()))

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Refuse: results are not written again."""
        raise TypeError("a result is read only")

    def length(self, name: str) -> int:
        """Return the number of rows of an array."""
        return sum(map(len, self._parts(name)))

    def drop(self, name: str) -> None:
        """Refuse: results are not written again."""
        raise TypeError("a result is read only")


@dataclass(frozen=True)
class Solved:
    """One problem of a merged run.

    Attributes:
        case: world, horizon and theory.
        error: why it has no solution; empty where it has one.
        level_sizes: N_t for t = 0..T.
        root: tables whose item k - 1 is the root with k steps to go; see `ROOT`.
        settings: what the problem sets, JSON values.
        memory: (structure, predicted bytes, measured bytes).
        timing: columns of `TIMING`, f8 [n, 5].
        build_s: user CPU seconds of its world's build.
    """

    context: Context
    case: Case
    error: str
    level_sizes: list[int]
    root: dict[str, NDArray[np.float64]]
    settings: dict[str, Any]
    memory: list[tuple[str, int, int | None]]
    timing: NDArray[np.float64]
    build_s: float | None

    @property
    def n_states(self) -> int:
        """States of all levels."""
        return sum(self.level_sizes)

    @property
    def name(self) -> str:
        """What tells this problem's files from others'; empty where it is the only one."""
        return f"_{self.case.number:02d}" if len(cases(self.context.config)) > 1 else ""

    @property
    def user_s(self) -> float | None:
        """User CPU seconds of build and solve."""
        return None if self.build_s is None else self.build_s + float(self.timing[:, TIMING.index("user_s")].sum())

    @property
    def peak_bytes(self) -> int | None:
        """Peak resident memory of the process that solved it."""
        return self.memory[-1][2]

    @cached_property
    def graph(self) -> StateGraph:
        """The state graph; of a slab run without its transitions."""
        context, case = self.context, self.case
        if context.config.mode != "slab":
            return built_graph(context, case.world, case.world_number, case.max_steps, True)
        with context.result("resolve") as file:
            keys = as_words(file["derived/key"][()])
        return StateGraph(case.world, keys, self.level_sizes, TransitionBlocks(), 0)

    @cached_property
    def solution(self) -> Solution:
        """Values and policies, read level by level when they are asked for."""
        store, keep = ResultLevels(self.context, self.case), self.case.settings["keep_policies"]
        sizes = self.level_sizes[: self.case.max_steps]
        levels: dict[str, Any] = {name: StoredLevels(store, name, sizes) for name in KEPT[keep] if name != "m_h"}
        return Solution(self.case.params, keep, levels, self.root)

    def human_name(self, h: int) -> str:
        """Return how figures call a human: by its side where there are two side by side, else by its number."""
        return human_name(self.case.world, h)


def human_name(world: World, h: int) -> str:
    """Return how figures call a human: by its side where there are two side by side, else by its number from 1."""
    agents, humans = world.agents, world.humans
    if len(humans) == 1:
        return "human"
    if len(humans) == 2 and agents[humans[0]][0] != agents[humans[1]][0]:
        other = humans[1 - h]
        return "left human" if agents[humans[h]][0] < agents[other][0] else "right human"
    return f"human {h + 1}"


def cut(array: NDArray[np.float64], case: Case, name: str) -> NDArray[np.float64]:
    """Return a root table without what other worlds of the run are wider by."""
    world = case.world
    humans, goals, actions, robots = len(world.humans), len(world.goals), world.n_actions, world.n_robot_profiles
    widths: dict[str, tuple[int, ...]] = {
        "Vm": (humans, goals),
        "Ve": (humans, goals),
        "Xh": (humans,),
        "Qr": (robots,),
        "pi_r": (robots,),
        "m_h": (humans, actions),
    }
    if name == "first":  # the outcomes stand behind the world's own humans
        return array[:, : humans + 2]
    return array[(slice(None), *(slice(0, width) for width in widths.get(name, ())))]


def solved_problems(context: Context) -> list[Solved]:
    """Return the problems of a merged run that are there; a missing one is left out."""
    return [_slab(context)] if context.config.mode == "slab" else exact_problems(context)


def exact_problems(context: Context) -> list[Solved]:
    """Return the problems that the phase solve of a run has solved."""
    found = []
    with context.result("build") as file:
        build_s = file["meta/user_s"][()] if "meta/user_s" in file else None
    with context.result("solve") as file:
        count = len(file["rows/status"])
        numbers = file["units"][()].tolist() if "units" in file else range(count)
        problems = cases(context.config)
        for unit, number in enumerate(numbers):
            case = problems[number]
            predicted = file["rows/memory_predicted"][unit].tolist()
            measured = file["meta/memory_measured"][unit].tolist()
            found.append(
                Solved(
                    context=context,
                    case=case,
                    error=text_of(file, "rows/error", unit),
                    level_sizes=unit_of(file, "rows/level_sizes", unit).tolist(),
                    root={name: cut(unit_of(file, f"rows/root_by_horizon/{name}", unit), case, name) for name in ROOT},
                    settings=json.loads(text_of(file, "rows/params", unit)),
                    memory=list(zip(STRUCTURES, predicted, measured, strict=True)),
                    timing=unit_of(file, "meta/timing", unit),
                    build_s=None if build_s is None else float(build_s[case.world_number]),
                )
            )
    return found


def _slab(context: Context) -> Solved:
    case = cases(context.config)[0]
    horizon, head = case.max_steps, head_levels(context.config)
    roots: dict[str, list[NDArray[np.float64]]] = {name: [] for name in ROOT}
    for phase in [*(back_name(t) for t in range(horizon - 1, head - 1, -1)), HEAD]:
        with context.result(phase) as file:
            for name in ROOT:
                roots[name].append(file[f"rows/root/{name}"][()])
    with context.result("resolve") as file:
        sizes = file["derived/depth_offsets"][1:].tolist()
    predicted = predicted_table(case, sizes, 0)
    return Solved(
        context=context,
        case=case,
        error="",
        level_sizes=sizes,
        root={name: np.concatenate(parts) for name, parts in roots.items()},
        settings={key: value for key, value in case.settings.items() if key != "world"},
        memory=[(name, size, None) for name, size in zip(STRUCTURES, predicted, strict=True)],
        timing=np.empty((0, len(TIMING))),
        build_s=None,
    )
