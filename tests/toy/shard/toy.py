"""Phases of the toy study: search (pull) -> select -> simulate (late units) -> level-00..09, and walk (long units)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..jobs.toy.config import Config
from .context import Context
from .phases import Dataset, Once, Phase, Resources, Stats, Task
from .samplers import propose_random, propose_tpe
from .trials import FinishedTrial, SearchSpec, uniform

SPACE = (("x", uniform(-1.0, 1.0)), ("y", uniform(0.0, 2.0)))
LEVEL_UNITS = 4


def phases(config: Config) -> tuple[Phase, ...]:
    search = SearchSpec(
        study_name="toy",
        n_trials=config.search.n_trials,
        direction="maximize",
        space=SPACE,
        max_failures=20,
        adaptive=config.search.sampler == "tpe",
        lease_seconds=config.search.lease_seconds,
    )
    return (
        Phase(
            name="search",
            kind="pull",
            units=config.search.n_trials,
            reads=("search",),
            grows="search.n_trials",
            datasets=(Dataset("rows/distance", "f8", (2,)),),
            search=search,
            resources=Resources(seconds_per_unit=0.01),
        ),
        Phase(
            name="select",
            kind="map",
            units=1,
            after=("search",),
            datasets=(Dataset("rows/best", "f8", ragged=True),),
        ),
        Phase(
            name="simulate",
            kind="map",
            units=None,
            expected_units=config.search.n_trials * config.simulate.per_trial,
            block_size=3,
            after=("select",),
            reads=("simulate",),
            datasets=(
                Dataset("counts/sign", "i8", (2,)),
                Dataset("extrema/value", "f8", (2, 5)),
                Dataset("rows/largest", "f8"),
                Dataset("rows/samples", "f4", ragged=True, merge="index"),
            ),
            stats=Stats(metrics=("value", "square"), cells=5),
            resources=Resources(seconds_per_unit=20.0),
        ),
        *(level(k, config) for k in range(config.levels)),
        Phase(
            name="walk",
            kind="map",
            units=2,
            reads=("walk",),
            datasets=(Dataset("rows/position", "f8", (3,)),),
            resources=Resources(checkpoint_s=0.2, seconds_per_unit=0.1),
        ),
    )


def level(k: int, config: Config) -> Phase:
    return Phase(
        name=f"level-{k:02d}",
        kind="map",
        units=LEVEL_UNITS,
        after=("simulate" if k == 0 else f"level-{k - 1:02d}",),
        datasets=(Dataset("rows/height", "f8"),),
        resources=Resources(seconds_per_unit=0.001),
    )


def late_units(context: Context) -> int:
    with context.result("select") as file:
        return int(file["rows/best"].shape[0]) * context.config.simulate.per_trial


class Walker:
    """A random walk that keeps its generator: a unit that checkpoints inside itself."""

    def __init__(self, context: Context, unit: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(context.seed(unit)))
        self._left = context.config.walk.steps
        self._pause = context.config.walk.step_seconds
        self._position = np.zeros(3)

    def advance(self) -> bool:
        time.sleep(self._pause)
        self._position = self._position + self._generator.standard_normal(3)
        self._left -= 1
        return self._left > 0

    def state(self) -> Mapping[str, Any]:
        words = self._generator.bit_generator.state
        return {"position": self._position, "left": self._left, "generator": str_numbers(words)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._position = np.array(state["position"])
        self._left = int(state["left"])
        self._generator.bit_generator.state = numbers(state["generator"])

    def result(self) -> Mapping[str, Any]:
        return {"rows/position": self._position[None]}


def str_numbers(state: Mapping[str, Any]) -> dict[str, Any]:
    inner = {key: str(value) for key, value in state["state"].items()}
    return {**state, "state": inner}


def numbers(state: Mapping[str, Any]) -> dict[str, Any]:
    return {**state, "state": {key: int(value) for key, value in state["state"].items()}}


class ToyWork:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._config: Config = context.config

    def propose(self, number: int, earlier: Sequence[FinishedTrial]) -> dict[str, Any]:
        seed = self._config.seed
        if self._config.search.sampler == "random":
            return dict(propose_random(SPACE, seed)(number, earlier))
        return dict(propose_tpe(SPACE, seed, 4, "maximize")(number, earlier))

    def trial(self, number: int, parameters: Mapping[str, Any]) -> Task:
        return Once(self._evaluate, number, parameters)

    def _evaluate(self, number: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
        x, y = parameters["x"], parameters["y"]
        every = self._config.search.fail_every
        failed = {"failure": "the toy diverged"} if every and number % every == every - 1 else {}
        return {"rows/distance": [[x - 0.3, y - 1.0]], "value": -((x - 0.3) ** 2) - (y - 1.0) ** 2, **failed}

    def block(self, units: range) -> Task:
        name = self._context.phase.name
        if name == "walk":
            return Walker(self._context, units.start)
        if name == "select":
            return Once(self._select)
        if name == "simulate":
            return Once(self._simulate, units)
        return Once(self._level, units)

    def _select(self) -> dict[str, Any]:
        with self._context.result("search") as file:
            value, failed = file["rows/value"][()], file["rows/failed"][()]
        best = np.sort(value[failed == 0])[::-1][:3]
        return {"rows/best": best, "rows/best_length": [len(best)]}

    def _simulate(self, units: range) -> dict[str, Any]:
        with self._context.result("select") as file:
            best = file["rows/best"][()]
        time.sleep(self._config.simulate.seconds)
        drawn = []
        for unit in units:
            generator = np.random.Generator(np.random.PCG64(self._context.seed(unit)))
            drawn.append(
                best[unit % len(best)] + generator.standard_normal((self._config.simulate.samples + unit % 2, 5))
            )
        values = np.concatenate(drawn)
        lengths = [array.size for array in drawn]
        from .tree import extrema, welford

        return {
            "counts/sign": np.array([(values < 0).sum(), (values >= 0).sum()]),
            "extrema/value": extrema(values),
            "rows/largest": [array.max() for array in drawn],
            "rows/samples": values.astype("f4").ravel(),
            "rows/samples_length": lengths,
            "stats": np.stack([welford(values), welford(values * values)]),
        }

    def _level(self, units: range) -> dict[str, Any]:
        before = self._context.phase.after[0]
        with self._context.result(before) as file:
            total = (
                float(file["rows/height"][()].sum()) if before.startswith("level") else float(file["stats"][()].sum())
            )
        return {"rows/height": [np.tanh(1e-3 * total) + 1.0 / (unit + 1) for unit in units]}


def start(context: Context) -> ToyWork:
    return ToyWork(context)
