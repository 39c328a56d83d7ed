"""The golden files of the study, read as arrays and keywords."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "golden" / "conspec"
DELAYED_WORLDS = {"2_keys": "double", "3_keys": "triple", "4_keys": "quad"}


def golden(name: str) -> Any:
    """Content of one golden file."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def layout_of(episode: dict[str, Any]) -> dict[str, Any]:
    """Placements of a recorded episode as `reset` takes them."""
    return {
        "keys": {int(phase): tuple(cell) for phase, cell in episode["keys"].items()},
        "apples": {int(phase): cells for phase, cells in episode["apples"].items()},
    }


def space_of(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """A search space of the golden file as the section `hyperparameters` has it."""
    space = {}
    for entry in entries:
        bounds = (
            {"values": entry["spec"]}
            if entry["type"] == "choice"
            else dict(zip(("min", "max"), entry["spec"], strict=True))
        )
        space[entry["name"]] = {"type": entry["type"], **bounds}
    return space
