"""Lanes: several runs that advance in lock-step and share the batches of one language model."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any

from .requests import Request
from .simulation import Simulation, State


class Lanes:
    """Runs of one block of a study.

    What a run computes does not depend on its companions: where the back end's self-test says that batches change no
    bits, requests of all lanes are served together, else each lane's by themselves.

    Args:
        simulations: with one back end for all; they may differ in everything else.
    """

    def __init__(self, simulations: Sequence[Simulation]) -> None:
        self.simulations = list(simulations)
        self._steps: Generator[None, None, None] | None = None

    @property
    def done(self) -> bool:
        """Whether all runs have ended."""
        return all(simulation.done for simulation in self.simulations)

    def advance(self, seconds: float = 10.0) -> bool:
        """Compute for about that long and return whether more is to do.

        Ends between batches or decoding steps; a tick that is not finished goes on with the next call.
        """
        deadline = time.monotonic() + seconds
        while not self.done:
            if self._steps is None:
                self._steps = self._tick()
            for _ in self._steps:
                if time.monotonic() >= deadline:
                    return True
            self._steps = None
            if time.monotonic() >= deadline:
                break
        return not self.done

    def _tick(self) -> Generator[None, None, None]:
        """Run one tick of every lane that has one left."""
        waiting: list[tuple[Simulation, Generator[Request, list[Any], None], Request]] = []
        for simulation in self.simulations:
            if not simulation.done:
                steps = simulation.tick_steps()
                waiting += _next(simulation, steps, None)
        while waiting:
            kind = waiting[0][2].kind
            together = [entry for entry in waiting if entry[2].kind == kind]
            waiting = [entry for entry in waiting if entry[2].kind != kind]
            items = [item for _, _, request in together for item in request.items]
            voices = [simulation.voice for simulation, _, request in together for _ in request.items]
            results = yield from together[0][0].voice.backend.serve(Request(kind, items), voices)
            start = 0
            for simulation, steps, request in together:
                mine = results[start : start + len(request.items)]
                start += len(request.items)
                waiting += _next(simulation, steps, mine)

    def state(self) -> State:
        """Return the states after each lane's last finished tick, flat: arrays and JSON values by `<lane>/<name>`."""
        return {
            f"{lane}/{name}": value
            for lane, simulation in enumerate(self.simulations)
            for name, value in simulation.checkpoint().items()
        }

    def restore(self, state: State) -> None:
        """Go on from a state; an unfinished tick is dropped."""
        self._steps = None
        for lane, simulation in enumerate(self.simulations):
            mine = {name.split("/", 1)[1]: v for name, v in state.items() if name.split("/", 1)[0] == str(lane)}
            self.simulations[lane] = Simulation.restore(mine, voice=simulation.voice)


def _next(
    simulation: Simulation, steps: Generator[Request, list[Any], None], results: list[Any] | None
) -> list[tuple[Simulation, Generator[Request, list[Any], None], Request]]:
    """Send results to a tick and return what it asks next, or nothing where it has ended."""
    try:
        return [(simulation, steps, steps.send(results))]  # type: ignore[arg-type]
    except StopIteration:
        return []
