"""How a parameter is drawn: its values where they are few, its scale where they are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...jobs.conspec.config import Config

FEW = 6
LOGARITHMIC = ("learning_rate", "conspec_learning_rate", "adam_eps")


@dataclass(frozen=True)
class Scale:
    """A parameter's choices in order, or none where it is continuous, and whether its axis is logarithmic."""

    name: str
    choices: tuple[Any, ...]
    log: bool

    def place(self, value: Any) -> float:
        """Return where a value stands on an axis with equally spaced choices."""
        return float(self.choices.index(value)) if self.choices else float(value)


def scales_of(config: Config) -> list[Scale]:
    """Return the scales of a config's search space, in its order."""
    from ...jobs.conspec.search_space import read_space

    return [
        Scale(axis.name, tuple(axis.values), axis.log and not axis.values)
        for axis in read_space(config.hyperparameters)
    ]


def guessed_scales(records: Sequence[Mapping[str, Any]]) -> list[Scale]:
    """Return scales where only records are at hand: few distinct values are taken for choices."""
    names = list(dict.fromkeys(name for record in records for name in record["hyperparameters"]))
    found = []
    for name in names:
        values = [record["hyperparameters"].get(name) for record in records]
        distinct = sorted({value for value in values if value is not None}, key=lambda value: (str(type(value)), value))
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct)
        few = not numbers or (len(distinct) <= FEW and len(distinct) < len(values))
        positive = numbers and all(value > 0 for value in distinct)
        found.append(Scale(name, tuple(distinct) if few else (), name in LOGARITHMIC and positive and not few))
    return found


def varies(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether two records differ in a parameter."""
    return any(record["hyperparameters"] != records[0]["hyperparameters"] for record in records[1:])
