"""The search space: what a parameter may be, the trials of a random search and the points of a grid.

Trial n of world w draws one uniform number per parameter, in the declared order, from
PCG64(SeedSequence([seed, w, n])), so that its parameters depend on nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray

from .worlds import WORLDS, check_choice, check_count

TYPES = ("choice", "uniform", "loguniform", "int", "fixed")
GRID_ORDER_WORD = 1735550308  # "grid" in ASCII: the shuffled order shares no stream with a trial
LARGEST_GRID = 10**9

Value = int | float | str | bool


@dataclass(frozen=True)
class Axis:
    """One parameter: its type, and its values, or its bounds."""

    name: str
    kind: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    def at(self, u: float) -> Any:
        """Return the value at `u` in [0, 1)."""
        if self.values:
            return self.values[int(u * len(self.values))]
        if self.kind == "int":
            top = self.high + 1
            value = self._between(u, top) if self.log else self.low + u * (top - self.low)
            return min(max(math.floor(value), int(self.low)), int(self.high))
        return min(max(self._between(u, self.high), self.low), self.high)

    def _between(self, share: float, high: float) -> float:
        if self.log:
            return math.exp(math.log(self.low) + share * (math.log(high) - math.log(self.low)))
        return self.low + share * (high - self.low)

    def levels(self, count: int) -> tuple[Any, ...]:
        """Return the values of a grid: every choice in order, else `count` spaced values with both ends.

        They are equally spaced, geometrically for `loguniform`. Integers are rounded half to even and named once.
        """
        if self.values:
            return self.values
        if self.low == self.high:
            return (self._typed(self.low),)
        shares = [index / (count - 1) for index in range(count)]
        is_integer = self.kind == "int"
        points = [self.low + s * (self.high - self.low) if is_integer else self._between(s, self.high) for s in shares]
        points[0], points[-1] = self.low, self.high  # rounding must not leave the space
        return tuple(dict.fromkeys(self._typed(point) for point in points))

    def _typed(self, value: float) -> Any:
        return round(value) if self.kind == "int" else float(value)


def read_space(search_space: Mapping[str, Mapping[str, Any]]) -> tuple[Axis, ...]:
    """Return the axes of a space in its order.

    Raises:
        ValueError: what is wrong with an entry, named by its key.
    """
    return tuple(_axis(name, entry) for name, entry in search_space.items())


def _axis(name: str, entry: Any) -> Axis:
    if not isinstance(entry, Mapping) or "type" not in entry:
        raise ValueError(f"{name}.type: missing; allowed {', '.join(TYPES)}")
    kind = entry["type"]
    if kind not in TYPES:
        raise ValueError(f"{name}.type: {kind!r}; allowed {', '.join(TYPES)}")
    needed = {"choice": ("values",), "fixed": ("value",)}.get(kind, ("min", "max"))
    optional = ("log",) if kind == "int" else ()
    for key in entry:
        if key not in ("type", *needed, *optional):
            raise ValueError(f"{name}.{key}: unknown key; {kind} takes {', '.join((*needed, *optional))}")
    for key in needed:
        if key not in entry:
            raise ValueError(f"{name}.{key}: missing; {kind} needs it")
    if kind == "fixed":
        return Axis(name, kind, (_plain(name, entry["value"]),))
    if kind == "choice":
        values = entry["values"]
        if isinstance(values, str | Mapping) or not hasattr(values, "__iter__") or not list(values):
            raise ValueError(f"{name}.values: {values!r}; allowed a list of at least one value")
        return Axis(name, kind, tuple(_plain(name, value) for value in values))
    low, high = (_number(name, key, entry[key]) for key in ("min", "max"))
    if low > high:
        raise ValueError(f"{name}: min {low!r} > max {high!r}")
    log = kind == "loguniform" or entry.get("log", False)
    if not isinstance(log, bool):
        raise ValueError(f"{name}.log: {log!r}; allowed true, false")
    if kind == "loguniform" and low <= 0:
        raise ValueError(f"{name}.min: {low!r}; loguniform needs min > 0")
    if kind == "int" and (low != int(low) or high != int(high)):
        raise ValueError(f"{name}: min {low!r}, max {high!r}; int needs whole numbers")
    if kind == "int" and log and low <= 0:
        raise ValueError(f"{name}.min: {low!r}; int with log needs min > 0")
    if kind != "int":
        low, high = float(low), float(high)
    return Axis(name, kind, (), low, high, log)


def _plain(name: str, value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        raise ValueError(f"{name}: {plain!r} is not a finite number")
    return plain


def _number(name: str, key: str, value: Any) -> Any:
    plain = _plain(name, value)
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise ValueError(f"{name}.{key}: {value!r}; allowed finite numbers")
    return plain


def sample_parameters(
    search_space: Mapping[str, Mapping[str, Any]], seed: int, world: str, trial: int
) -> dict[str, Any]:
    """Return the parameters of trial `trial` of a random search in `world` (its name).

    A pure function of its arguments: names in the space's order, plain Python numbers. `fixed` uses up its uniform
    number as the others do, so that fixing one parameter leaves the draws of the others.

    Raises:
        ValueError: an unknown world, or what is wrong with the space.
    """
    check_choice("world", world, WORLDS)
    generator = Generator(PCG64(SeedSequence([seed, WORLDS.index(world), trial])))
    return {axis.name: axis.at(generator.random()) for axis in read_space(search_space)}


class ParameterGrid:
    """Every combination of the levels of a space; the last parameter varies fastest.

    Raises:
        ValueError: fewer than two levels, more than 10^9 points, or what is wrong with the space.
    """

    def __init__(self, search_space: Mapping[str, Mapping[str, Any]], *, levels: int = 3) -> None:
        check_count("grid_levels", levels, least=2)
        self._axes = [(axis.name, axis.levels(levels)) for axis in read_space(search_space)]
        self._size = math.prod(len(values) for _, values in self._axes)
        if self._size > LARGEST_GRID:
            raise ValueError(f"grid has {self._size} points; allowed at most {LARGEST_GRID}")

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one point as parameters.

        Raises:
            IndexError: the grid has no such point.
        """
        rest = int(index)
        if not -self._size <= rest < self._size:
            raise IndexError(f"grid point {index}; the grid has {self._size}")
        rest %= self._size
        chosen = {}
        for name, values in reversed(self._axes):
            rest, digit = divmod(rest, len(values))
            chosen[name] = values[digit]
        return {name: chosen[name] for name, _ in self._axes}

    def order(self, seed: int, world: str) -> NDArray[np.int64]:
        """Return the shuffled order in which a search of `world` visits the points, i8[len(grid)].

        Raises:
            ValueError: unknown world.
        """
        check_choice("world", world, WORLDS)
        words = [seed, WORLDS.index(world), GRID_ORDER_WORD]
        return Generator(PCG64(SeedSequence(words))).permutation(self._size)
