"""The golden files of the study: runs of the reference implementation, read as keywords and arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent.parent / "golden" / "complementarity"
THERAPISTS = {"omniscient_v1": "v1", "omniscient_v2": "v2"}
SETTING_KEYS = ("mechanism", "pattern", "u_matrix", "enable_parataxic", "entropy", "history_weight", "bond_power")


def golden(name: str) -> Any:
    """Content of one golden file."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def digits(text: str) -> NDArray[np.uint8]:
    """One element per character."""
    return np.array([int(character) for character in text], np.uint8)


def settings_of(entry: dict[str, Any]) -> dict[str, Any]:
    """Keywords of `simulate_pairs` for an entry of `variety.json`."""
    return {key: entry[key] for key in SETTING_KEYS}
