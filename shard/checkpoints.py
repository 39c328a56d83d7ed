"""Checkpoints inside a unit: the state of a long task, kept as arrays and JSON, the newest two."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import QuintetError
from .partial import Card, build, read_arrays, read_card, read_meta
from .provenance import capability
from .publish import replace_file, set_aside, valid_card

if TYPE_CHECKING:
    from .run import Plan, Run

KEPT = 2
MOST_LOOKS = 20


def still(path: Path, card: Card) -> bool:
    """Whether a file has this very card, and so these very bytes."""
    try:
        return read_card(path) == card
    except (OSError, ValueError):
        return False


class Checkpoints:
    """The checkpoints of one task, named after its first unit (or its trial)."""

    def __init__(self, run: Run, plan: Plan, inputs: str, unit: int, units: int) -> None:
        """Name them; nothing is read."""
        self._run = run
        self._plan = plan
        self._card = Card(plan.study, plan.phase, unit, unit, unit + units, plan.config_sha256[:16], inputs)
        self._unit = unit

    def _standing(self) -> list[tuple[int, Path]]:
        folder = self._run.checkpoint_folder(self._plan.phase, self._unit)
        pattern = re.compile(rf"u{self._unit:06d}\.(\d+)\.h5")
        if not folder.is_dir():
            return []
        found = ((pattern.fullmatch(path.name), path) for path in folder.iterdir())
        return sorted((int(match.group(1)), path) for match, path in found if match)

    def save(self, state: Mapping[str, Any]) -> None:
        """Publish a state as the newest generation and drop all but the last two."""
        standing = self._standing()
        generation = standing[-1][0] + 1 if standing else 0
        arrays = {f"rows/{key}": value for key, value in state.items() if hasattr(value, "dtype")}
        values = {key: value for key, value in state.items() if not hasattr(value, "dtype")}
        content, _ = build(self._card, arrays, {"state": values, "capability": capability()}, compressed=False)
        # another attempt at the same unit may be ahead or behind: the last writer wins, and either is right
        replace_file(self._run.checkpoint_file(self._plan.phase, self._unit, generation), content)
        for _, path in standing[: max(0, len(standing) + 1 - KEPT)]:
            path.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """Return the newest state that can be believed and that this CPU can continue to the same bits."""
        waiting = [path for _, path in self._standing()]
        for _ in range(MOST_LOOKS):
            if not waiting:
                return None
            path = waiting.pop()
            card = valid_card(path)
            if card is None:
                set_aside(path, self._run.path / "quarantine")
                continue
            if (card.cfg, card.inp, card.lo, card.hi) != (self._card.cfg, self._card.inp, self._card.lo, self._card.hi):
                path.unlink(missing_ok=True)
                continue
            try:
                meta, arrays = read_meta(path), read_arrays(path)
            except FileNotFoundError:
                continue  # another attempt has published the unit
            except (KeyError, OSError, ValueError, RuntimeError, QuintetError):
                meta, arrays = {}, {}
            if not still(path, card):  # another attempt has replaced it: its two halves may be of two states
                waiting.append(path)
                continue
            if not isinstance(meta.get("state"), dict):  # bytes that fit their card, and no checkpoint
                set_aside(path, self._run.path / "quarantine")
                continue
            if meta.get("capability") != capability():
                print(f"{path.name}: made on another CPU capability; the unit starts afresh", file=sys.stderr)
                path.unlink(missing_ok=True)
                continue
            return {**meta["state"], **{name.removeprefix("rows/"): array for name, array in arrays.items()}}
        return None

    def refuse(self) -> None:
        """Set the newest aside: it was believed, and the task cannot be taken up from it."""
        for _, path in self._standing()[-1:]:
            set_aside(path, self._run.path / "quarantine")

    def drop(self) -> None:
        """Remove them all: the unit is published."""
        for _, path in self._standing():
            path.unlink(missing_ok=True)
