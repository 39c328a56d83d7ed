"""Objectives of residents: drawn from templates, advanced by successful actions, replaced when completed."""

from __future__ import annotations

import random
from typing import Any

from .config import RunConfig
from .generator_state import restored, stored
from .vocabulary import KIND_INDEX, PRESETS, ObjectivePreset, default_presets


def presets_of(config: RunConfig) -> dict[str, ObjectivePreset]:
    """Return the templates by name: the config's own, named presets, or the scenario's."""
    named = config.objectives.templates
    if named is None:
        return default_presets(config.env, config.difficulty)
    if isinstance(named, list):
        return {name: PRESETS[name] for name in named}
    return {
        name: ObjectivePreset(
            template.type.lower(),
            template.description,
            dict(template.requirements),
            float(template.reward.get("satisfaction", 0.0)),
        )
        for name, template in named.items()
    }


class Objectives:
    """The objective of each resident and how far it is.

    `required[resident]` and `progress[resident]` count by index of action; both are empty without objectives.
    """

    def __init__(self, config: RunConfig, n: int) -> None:
        self.presets = presets_of(config)
        self.names = sorted(self.presets)
        self._required = [
            {KIND_INDEX[kind]: count for kind, count in self.presets[name].requirements.items()} for name in self.names
        ]
        self._draw = random.Random(config.objectives.seed or config.seed)
        self.enabled = config.objectives.enabled and bool(self.names)
        self.chosen = [-1] * n
        self.serial = [0] * n
        self.progress: list[dict[int, int]] = [{} for _ in range(n)]
        if self.enabled:
            for resident in range(n):
                self._assign(resident)

    def _assign(self, resident: int) -> None:
        index = self.names.index(self._draw.choice(self.names))
        self.chosen[resident] = index
        self.serial[resident] += 1
        self.progress[resident] = dict.fromkeys(self._required[index], 0)

    def preset(self, resident: int) -> ObjectivePreset | None:
        """Return a resident's objective, or nothing."""
        return self.presets[self.names[self.chosen[resident]]] if self.enabled else None

    def required(self, resident: int) -> dict[int, int]:
        """Return what a resident's objective requires, by index of action."""
        return self._required[self.chosen[resident]]

    def remaining(self, resident: int) -> int:
        """Return how many steps a resident's objective still needs."""
        progress = self.progress[resident]
        return sum(count - progress[kind] for kind, count in self.required(resident).items()) if self.enabled else 0

    def credit(self, resident: int, kind: int) -> tuple[str, float] | None:
        """Count a successful action; return name and reward of an objective that it completes."""
        if not self.enabled:
            return None
        progress = self.progress[resident]
        if kind not in progress:
            return None
        required = self._required[self.chosen[resident]]
        if progress[kind] < required[kind]:
            progress[kind] += 1
        for needed, count in required.items():
            if progress[needed] < count:
                return None
        name = self.names[self.chosen[resident]]
        self._assign(resident)
        return name, self.presets[name].satisfaction

    def state(self) -> dict[str, Any]:
        """Return the objectives as JSON values."""
        return {
            "chosen": list(self.chosen),
            "serial": list(self.serial),
            "progress": [[[kind, count] for kind, count in progress.items()] for progress in self.progress],
            "draw": stored(self._draw),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state."""
        self.chosen, self.serial = list(state["chosen"]), list(state["serial"])
        self.progress = [dict(progress) for progress in state["progress"]]
        self._draw = restored(state["draw"])
