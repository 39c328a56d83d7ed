"""The phase build: all states of a world that can be reached, and their transitions."""

from __future__ import annotations

import resource
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.graph import StateGraph, TooManyStatesError, build
from ...jobs.induction.params import Params
from ..attempts import peak_rss_mb
from ..errors import Exit, QuintetError
from ..phases import Once, Task
from .index import UnitRows, as_bytes, one_unit, padded, unit_of
from .pressure import Ladder, Memory, Provider, Step, memory_now, too_large
from .spill import LevelStore, spill_base, spill_folder
from .table import key_shape, shape_of
from .worlds import thawed

if TYPE_CHECKING:
    from ...jobs.induction.config import Config
    from ...jobs.induction.world import World
    from ..context import Context

GRAPH_ARRAYS = ("trans/succ", "trans/exc_ptr", "trans/exc_succ", "trans/exc_prob")


def user_seconds() -> float:
    """User CPU seconds of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


class BuildWork:
    """Builds the graphs of worlds."""

    def __init__(self, context: Context, provider: Provider = memory_now) -> None:
        """Keep the context."""
        self._context, self._provider = context, provider

    def block(self, units: range) -> Task:
        """Return the task of one world."""
        return Once(self._build, units.start)

    def _build(self, unit: int) -> dict[str, Any]:
        config: Config = self._context.config
        frozen = config.worlds[unit]
        world = thawed(frozen)
        build(world, 1)  # loads the kernels, whose time is not this world's
        started, wall = user_seconds(), time.monotonic()
        store = LevelStore(lambda: self._folder(unit), config.compression, lambda: ladder.check())
        ladder = Ladder(
            [Step("transitions written out", store.to_disk)],
            lambda memory: self._too_large(world, store, memory),
            fraction=config.min_free_memory_fraction,
            on_low=config.on_low_memory,
            pause_s=config.memory_pause_duration,
            provider=self._provider,
        )
        try:
            if config.spill == "always":
                store.to_disk()
            graph = build(world, frozen.max_steps, max_states=config.max_states, spill=store)
            arrays = graph.arrays()
        except TooManyStatesError as error:
            raise QuintetError(Exit.INPUT, str(error)) from None
        finally:
            store.close()
        if not config.quiet:
            print(
                f"build {world.name}: {graph.n_states} states, {graph.n_configs} configurations, "
                f"{time.monotonic() - wall:.1f} s",
                file=sys.stderr,
            )
        return self._payload(world, graph, arrays, user_seconds() - started)

    def _folder(self, unit: int) -> Any:
        config, run = self._context.config, self._context.run
        base = spill_base(config.spill_dir, config.allow_tmpfs, run.path)
        return spill_folder(base, f"{run.path.resolve()}/build/{unit}")

    def _too_large(self, world: World, store: LevelStore, memory: Memory) -> QuintetError:
        rows = max(1, store.length("trans/succ"))
        need = rows * (4 * world.n_profiles + 20)
        store.close()
        try:
            build(world, max_states=rows)
        except TooManyStatesError as error:
            fits = 0
            while fits + 1 < len(error.level_sizes) and sum(error.level_sizes[: fits + 2]) <= rows:
                fits += 1
            return too_large(fits, 2 * need, memory)
        return too_large(world.max_steps, need, memory)

    def _payload(self, world: World, graph: StateGraph, arrays: dict[str, Any], seconds: float) -> dict[str, Any]:
        shape = shape_of(self._context.config)
        key = arrays["key"]
        if key_shape(shape) and key.ndim == 1:
            key = key[:, None]
        return {
            **one_unit(
                {
                    "rows/world": as_bytes(world.source),
                    "rows/goals": arrays["goals"],
                    "rows/goal_weights": Params().weights(len(world.goals), world.has_goal_list),
                    "rows/attained": padded(arrays["attained"], (shape.goals,)),
                    "rows/config/key": padded(key, key_shape(shape)),
                    "rows/config/depth_offsets": arrays["depth_offsets"],
                    "rows/config/human_cell": padded(arrays["human_cell"], (shape.humans,)),
                    "rows/trans/succ": padded(arrays["trans/succ"], (shape.profiles,)),
                    "rows/trans/exc_ptr": arrays["trans/exc_ptr"],
                    "rows/trans/exc_succ": arrays["trans/exc_succ"],
                    "rows/trans/exc_prob": arrays["trans/exc_prob"],
                }
            ),
            "rows/n_outcomes": [graph.n_outcomes],
            "meta/user_s": [seconds],
            "meta/rss_mb": [peak_rss_mb()],
        }


class _Narrow:
    """Rows of a padded array, cut to one world's width."""

    def __init__(self, rows: UnitRows, width: int | None) -> None:
        self._rows, self._width = rows, width

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> Any:
        array = self._rows[rows]
        return array if self._width is None else np.ascontiguousarray(array[:, : self._width])


def built_graph(context: Context, world: World, number: int, max_steps: int, in_memory: bool) -> StateGraph:
    """Return the graph of one world of the run up to a horizon.

    Args:
        context: a phase after build.
        world: the world.
        number: its number in the run.
        max_steps: horizon.
        in_memory: whether the transitions are read now, or slice by slice when they are needed.
    """
    with context.result("build") as file:
        offsets = unit_of(file, "rows/config/depth_offsets", number)[: max_steps + 2]
        places = {name: file[f"meta/index/rows/{name}"][number] for name in (*GRAPH_ARRAYS, "config/key")}
    arrays: dict[str, Any] = {
        name: _Narrow(
            UnitRows(context, "build", f"rows/{name}", place), world.n_profiles if name == "trans/succ" else None
        )
        for name, place in places.items()
    }
    keys = arrays.pop("config/key")[0 : int(offsets[-1])]
    keys = keys.reshape(len(keys), -1)[:, : world.packing.n_words]
    if in_memory:
        succ = arrays["trans/succ"][0 : int(offsets[-2])]
        n_exceptions = int((succ < 0).sum())
        ptr = arrays["trans/exc_ptr"][0 : n_exceptions + 1]
        outcomes = int(ptr[-1])
        arrays = {
            "trans/succ": succ,
            "trans/exc_ptr": ptr,
            "trans/exc_succ": arrays["trans/exc_succ"][0:outcomes],
            "trans/exc_prob": arrays["trans/exc_prob"][0:outcomes],
        }
    return StateGraph.from_arrays(world, {"key": keys, "depth_offsets": offsets, **arrays})
