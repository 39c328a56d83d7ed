"""The golden files of the study: runs of the reference implementation and of an enumerator checked against it."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from quintet.jobs.induction import Params, World

FOLDER = Path(__file__).parent.parent / "golden" / "induction"
WORLDS = Path(__file__).parent.parent.parent / "configs" / "induction" / "worlds"


@cache
def golden(name: str) -> Any:
    """Content of one golden file."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def golden_world(name: str) -> World:
    """A world of `worlds.json`."""
    return World.from_dict(golden("worlds")["worlds"][name])


def golden_params(case: dict[str, Any], **more: Any) -> Params:
    """The parameters of a case; "inf" is infinity."""
    values = {name: math.inf if value == "inf" else value for name, value in case["params"].items()}
    return Params(**{**values, **more})


def as_tuple(value: Any) -> Any:
    """A state as it is written in JSON, with tuples for lists."""
    return tuple(as_tuple(item) for item in value) if isinstance(value, list) else value
