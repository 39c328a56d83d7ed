"""A search space in Optuna's JSON, read without Optuna: importing that costs half a CPU second per worker."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import Exit, QuintetError
from .records import Parameters

Scalar = None | bool | int | float | str


@dataclass(frozen=True)
class Distribution:
    """The values one parameter may take; `step` is None for a continuous float."""

    kind: Literal["float", "int", "categorical"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Scalar, ...] = ()

    def internal(self, value: Any) -> float:
        """Return the number that Optuna stores for `value`: the index of a choice, else the value.

        Raises:
            ValueError: `value` is not in the distribution.
        """
        if self.kind == "categorical":
            for index, candidate in enumerate(self.choices):
                if type(candidate) is type(value) and candidate == value:
                    return float(index)
            raise ValueError(f"{value!r} is none of {list(self.choices)!r}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ValueError(f"{value!r} is not between {self.low} and {self.high}")
        if self.kind == "int" and int(value) != value:
            raise ValueError(f"{value!r} is not a whole number")
        return float(value)

    def external(self, stored: float) -> Any:
        """Return the value that Optuna stores as `stored`."""
        if self.kind == "categorical":
            return self.choices[int(stored)]
        return int(stored) if self.kind == "int" else float(stored)

    def at(self, u: float) -> Any:
        """Return the value at `u` in [0, 1): equal shares for choices and steps, logarithmic where `log`."""
        if self.kind == "categorical":
            return self.choices[int(u * len(self.choices))]
        if self.kind == "int" and self.log:
            value = math.exp(math.log(self.low) + u * (math.log(self.high + 1) - math.log(self.low)))
            return min(int(value), int(self.high))
        if self.step is not None:
            count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
            value = self.low + self.step * int(u * count)
            return int(value) if self.kind == "int" else value
        if self.log:
            value = math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + u * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def levels(self, count: int) -> tuple[Any, ...]:
        """Return the grid levels: every choice in order, else `count` spaced values with both ends.

        They are equally spaced, geometrically where `log`. Integers are rounded half to even and named once.
        """
        if self.kind == "categorical":
            return self.choices
        if self.low == self.high:
            return (self.external(self.low),)
        shares = [index / (count - 1) for index in range(count)]
        if self.log:
            span = math.log(self.high) - math.log(self.low)
            points = [math.exp(math.log(self.low) + share * span) for share in shares]
        else:
            points = [self.low + share * (self.high - self.low) for share in shares]
        points[0], points[-1] = self.low, self.high  # rounding must not leave the space
        if self.step is not None and (self.kind == "float" or self.step != 1):
            points = [min(self.low + self.step * round((x - self.low) / self.step), self.high) for x in points]
        return tuple(dict.fromkeys(self.external(round(x) if self.kind == "int" else x) for x in points))


def uniform(low: float, high: float, log: bool = False, step: float | None = None) -> str:
    """Return Optuna's JSON of a float between `low` and `high`."""
    attributes = {"step": step, "low": float(low), "high": float(high), "log": log}
    return json.dumps({"name": "FloatDistribution", "attributes": attributes})


def integer(low: int, high: int, log: bool = False, step: int = 1) -> str:
    """Return Optuna's JSON of an integer between `low` and `high`, both possible."""
    attributes = {"log": log, "step": step, "low": low, "high": high}
    return json.dumps({"name": "IntDistribution", "attributes": attributes})


def choice(values: tuple[Scalar, ...] | list[Scalar]) -> str:
    """Return Optuna's JSON of one of `values`."""
    return json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": list(values)}})


def read_space(space: tuple[tuple[str, str], ...]) -> dict[str, Distribution]:
    """Return the distributions by parameter name, in the declared order.

    Raises:
        QuintetError: 78, naming the parameter whose JSON is none of Optuna's three distributions.
    """
    return {name: _read(name, text) for name, text in space}


def checked(parameters: Parameters, space: dict[str, Distribution], what: str, code: Exit) -> list[tuple[str, float]]:
    """Return (name, stored number) of each parameter in the order of `space`.

    Raises:
        QuintetError: with `code`, naming `what` and the parameter that is missing, unknown or outside the
            space.
    """
    if parameters.keys() != space.keys():
        odd = sorted(parameters.keys() ^ space.keys())
        raise QuintetError(code, f"{what}: parameters {odd} are missing or unknown; the space has {list(space)}")
    stored = []
    for name, distribution in space.items():
        try:
            stored.append((name, distribution.internal(parameters[name])))
        except ValueError as error:
            raise QuintetError(code, f"{what}: parameter {name}: {error}") from error
    return stored


def _read(name: str, text: str) -> Distribution:
    try:
        record = json.loads(text)
        attributes = record["attributes"]
        if record["name"] == "CategoricalDistribution":
            return Distribution("categorical", choices=tuple(attributes["choices"]))
        kinds: dict[str, Literal["float", "int"]] = {"FloatDistribution": "float", "IntDistribution": "int"}
        return Distribution(
            kinds[record["name"]],
            attributes["low"],
            attributes["high"],
            attributes["log"],
            attributes["step"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise QuintetError(
            Exit.MISMATCH, f"search space: parameter {name}: {text[:200]!r} is not a distribution of Optuna's"
        ) from error
