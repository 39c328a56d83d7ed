"""A block of simulate: the lanes of some units, advanced together, with what they cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.society.conditions import conditions
from ...jobs.society.lanes import Lanes
from ...jobs.society.simulation import Simulation
from ..attempts import peak_rss_mb
from .rows import TIMING, block_payload, unit_rows

if TYPE_CHECKING:
    from ...jobs.society.config import RunConfig
    from .live import LiveView

STEP_SECONDS = 8.0
VIEW_SECONDS = 0.2


class SimulateBlock:
    """The task of some units: lanes that share the batches of one language model.

    A unit whose model gives NaN is a row with its reason; its companions go on.
    """

    def __init__(
        self,
        config: RunConfig,
        units: range,
        voice: Mapping[str, Any],
        changes: Any = None,
        pause: float = STEP_SECONDS,
        view: LiveView | None = None,
    ) -> None:
        """Set up the runs.

        Args:
            config: of the study.
            units: their numbers.
            voice: `backend`, `vectors` and `prior` of the runs.
            changes: function that completes the config of a unit (a tuned study).
            pause: seconds after which `advance` returns once a tick has ended at which a state may be kept.
            view: shows the ticks of one unit.
        """
        known = conditions(config)
        self._config = config
        self._places = [(unit % len(known), unit // len(known)) for unit in units]
        configs = [known[index].config(config, replicate) for index, replicate in self._places]
        if changes is not None:
            configs = [changes(one) for one in configs]
        self._backend = voice.get("backend")
        self._lanes = Lanes([Simulation(one, **voice) for one in configs])
        self._reasons = [""] * len(units)
        self._driven = self._lanes
        self._spent = dict.fromkeys(TIMING, 0.0)
        self._pause = min(pause, STEP_SECONDS) if view is None else VIEW_SECONDS
        self._view = view
        if view is not None:
            view.follow(units, self._lanes)

    def advance(self) -> bool:
        """Compute for some seconds; runs of a model that costs nothing go on to a tick where a state may be kept."""
        begun = time.monotonic()
        before = self._counters()
        try:
            self._advance(begun)
        except FloatingPointError:
            self._one_by_one()
        finally:
            for name, value in self._counters().items():
                self._spent[name] += value - before[name]
        if self._view is not None:
            self._view.show()
        return bool(self._going())

    def _advance(self, begun: float) -> None:
        """Go on to a tick at which a state may be kept, but no longer than a step."""
        every = self._config.checkpoint_every_ticks or 1
        first = [simulation.tick for simulation in self._driven.simulations]
        while self._driven.advance(self._pause):
            elapsed = time.monotonic() - begun
            ticks = [simulation.tick for simulation in self._driven.simulations]
            if elapsed >= STEP_SECONDS or (ticks != first and all(tick % every == 0 for tick in ticks)):
                return

    def _going(self) -> list[int]:
        """Return the lanes that neither ended nor failed."""
        return [
            lane
            for lane, simulation in enumerate(self._lanes.simulations)
            if not simulation.done and not self._reasons[lane]
        ]

    def _one_by_one(self) -> None:
        """Run the tick in which a number was not finite lane by lane, and set aside the lanes whose it was."""
        for lane in self._going():
            simulation = self._lanes.simulations[lane]
            tick = simulation.tick
            try:
                for _ in simulation.voice.answered(simulation.tick_steps()):
                    pass
            except FloatingPointError as error:
                self._reasons[lane] = f"tick {tick}: {error}"
        self._drive()

    def _drive(self) -> None:
        """Let only the lanes advance that have not failed."""
        whole = [run for run, reason in zip(self._lanes.simulations, self._reasons, strict=True) if not reason]
        self._driven = Lanes(whole)

    def _counters(self) -> dict[str, float]:
        # a model on several devices has a replica, and an engine, on each
        engines = [getattr(one, "engine", None) for one in getattr(self._backend, "replicas", [self._backend])]
        embeddings = getattr(self._backend, "embeddings", None)
        memories = [memory for simulation in self._lanes.simulations for memory in simulation.memories]
        return {
            "cpu_s": time.process_time(),
            "wall_s": time.monotonic(),
            "rows": float(sum(getattr(engine, "rows", 0) for engine in engines)),
            "forwards": float(sum(getattr(engine, "forwards", 0) for engine in engines)),
            "tokens": float(sum(getattr(engine, "tokens", 0) for engine in engines)),
            "embedding_lookups": float(getattr(embeddings, "lookups", 0)),
            "embedding_hits": float(getattr(embeddings, "hits", 0)),
            "memory_lookups": float(sum(memory.lookups for memory in memories)),
            "memory_hits": float(sum(memory.hits for memory in memories)),
        }

    def state(self) -> dict[str, Any]:
        """Return the lanes' states after their last finished ticks, and what was spent."""
        begun = time.process_time()
        state = {**self._lanes.state(), "reasons": list(self._reasons), "spent": dict(self._spent)}
        self._spent["checkpoints"] += 1
        self._spent["checkpoint_cpu_s"] += time.process_time() - begun
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        own = dict(state)
        self._reasons, self._spent = list(own.pop("reasons")), dict(own.pop("spent"))
        self._lanes.restore(own)
        self._drive()
        if self._view is not None:
            self._view.resume(self._lanes)

    def result(self) -> dict[str, Any]:
        """Return the payload of the block."""
        units = [
            unit_rows(simulation, condition, replicate, reason)
            for simulation, (condition, replicate), reason in zip(
                self._lanes.simulations, self._places, self._reasons, strict=True
            )
        ]
        return block_payload(units, self._timing(), self._config)

    def _timing(self) -> np.ndarray:
        """Return f8[units, costs]; shared costs are divided by the units' shares of the decisions."""
        decisions = np.array([simulation.log.rows("actions") for simulation in self._lanes.simulations], float)
        share = decisions / max(decisions.sum(), 1.0)
        spent = {**self._spent, "decisions": decisions.sum()}
        timing = np.array([[spent[name] * part for name in TIMING] for part in share])
        timing[:, TIMING.index("peak_rss_mb")] = peak_rss_mb()
        timing[:, TIMING.index("bitwise")] = float(getattr(self._backend, "invariance", "bitwise") == "bitwise")
        return timing
