"""Fitted values: one network per level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..params import Params
from ..world import World
from .configurations import Keys, check_world, horizon_of
from .distance import Bound
from .features import Features
from .kernel.sums import decode_rows
from .network import Evaluator, LevelNetwork, Standard, shapes
from .settings import NeuralConfig
from .stepping import Levels
from .streams import check_seed
from .value_function import ValueFunction

CURVE = ("level", "n_rows", "loss", "cpu_s")
EVALUATORS = 2


def parameter_names(hidden: tuple[int, ...]) -> list[str]:
    """Return the names of a network's parameters, in order."""
    return ["embedding", *(f"{kind}{k + 1}" for k in range(len(hidden)) for kind in ("weight", "bias"))]


class Fitted(ValueFunction):
    """Values of one training; `fit` makes it.

    Attributes:
        world, params, max_steps, seed, config: what was fitted.
        networks: of levels 1..T-1.
        curve: columns level, n_rows, loss (mean over the last epoch), cpu_s; one row per (pass, level), in order.
            Empty where the networks come from `from_tensors`.
    """

    def __init__(
        self,
        world: World,
        params: Params,
        max_steps: int,
        config: NeuralConfig,
        seed: int,
        networks: Mapping[int, LevelNetwork],
        curve: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.world, self.params, self.config = check_world(world), params, config
        self.max_steps, self.seed = horizon_of(world, max_steps), check_seed(seed)
        self.networks = dict(networks)
        self.curve = dict(curve or {name: np.empty(0) for name in CURVE})
        self.features = Features(world, config.features)
        self.bound = Bound(world, params, self.max_steps)
        self._evaluators: dict[int, tuple[LevelNetwork, Evaluator]] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fitted):
            return NotImplemented
        mine, theirs = self.tensors(), other.tensors()
        return (
            (self.world.source, self.params, self.max_steps, self.config, self.seed)
            == (other.world.source, other.params, other.max_steps, other.config, other.seed)
            and mine.keys() == theirs.keys()
            and all(np.array_equal(array, theirs[name]) for name, array in mine.items())
        )

    __hash__ = None  # type: ignore[assignment]

    def _evaluator(self, t: int) -> Evaluator:
        network = self.networks[t]
        found = self._evaluators.get(t)
        if found is None or found[0] is not network:
            while len(self._evaluators) >= EVALUATORS:
                self._evaluators.pop(next(iter(self._evaluators)))
            found = self._evaluators[t] = network, Evaluator(self.features, network.parameters)
        return found[1]

    def estimated(self, t: int, keys: Keys) -> Levels:
        """Return V^m, V^e f8 [n, H, G] and V_r f8 [n] of configurations at level t in 1..T-1."""
        shape = (len(keys), len(self.world.humans), len(self.world.goals))
        Vm, Ve, Vr = np.empty(shape), np.empty(shape), np.empty(len(keys))
        outputs = self._evaluator(t).outputs(self.features.of(keys))
        bound = self.bound
        places, standard = bound.places(keys), self.networks[t].standard
        decode_rows(outputs, places, bound.by_place, bound.powers, self.max_steps - t, *standard, Vm, Ve, Vr)
        return Vm, Ve, Vr

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return all numbers that were fitted: level/0001/embedding, weight1, bias1, ..., standard (mu, sigma), ..."""
        found: dict[str, NDArray[np.float32]] = {}
        for t, network in sorted(self.networks.items()):
            found |= level_tensors(t, network)
        return found

    @classmethod
    def from_tensors(
        cls,
        world: World,
        params: Params,
        max_steps: int | None,
        config: NeuralConfig,
        seed: int,
        tensors: Mapping[str, NDArray[np.float32]],
    ) -> Fitted:
        """Return the values whose numbers `tensors` gave.

        Raises:
            ValueError: a tensor is missing, too many, or of another shape.
        """
        horizon = horizon_of(check_world(world), max_steps)
        found = cls(world, params, horizon, config, seed, {})
        n_outputs = 2 * len(world.humans) * len(world.goals) + 1
        expected = shapes(found.features, config.hidden, n_outputs)
        found.networks = {t: read_level(t, tensors, config.hidden, expected) for t in range(1, horizon)}
        strange = sorted(set(tensors) - set(found.tensors()))
        if strange:
            raise ValueError(f"tensor {strange[0]!r} belongs to no level of horizon {horizon}")
        return found


def level_tensors(t: int, network: LevelNetwork) -> dict[str, NDArray[np.float32]]:
    """Return the numbers of one level by name."""
    names = parameter_names(tuple(range(len(network.parameters) // 2)))
    found = {f"level/{t:04d}/{name}": array for name, array in zip(names, network.parameters, strict=True)}
    return found | {f"level/{t:04d}/standard": np.array(network.standard, np.float32)}


def read_level(
    t: int, tensors: Mapping[str, Any], hidden: tuple[int, ...], expected: list[tuple[int, ...]]
) -> LevelNetwork:
    """Return the network of one level from numbers by name.

    Raises:
        ValueError: one is missing, or of another shape.
    """
    arrays = []
    for name, shape in zip([*parameter_names(hidden), "standard"], [*expected, (2,)], strict=True):
        path = f"level/{t:04d}/{name}"
        if path not in tensors:
            raise ValueError(f"tensor {path!r} is missing")
        array = np.array(tensors[path], np.float32)
        if array.shape != shape:
            raise ValueError(f"tensor {path!r} has shape {array.shape}; {shape} is needed")
        arrays.append(array)
    *parameters, standard = arrays
    return LevelNetwork(parameters, Standard(float(standard[0]), float(standard[1])))
