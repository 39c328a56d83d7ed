"""The golden files of the study, and the config of a recorded run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quintet.jobs.society import RunConfig

FOLDER = Path(__file__).parent.parent / "golden" / "society"


def golden(name: str) -> Any:
    """Content of one golden file."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def config_of(case: dict[str, Any], **more: Any) -> RunConfig:
    """The config of a recorded run of the heuristic dynamics."""
    return RunConfig(
        **{
            "run_id": case["name"],
            "model_name": "mock",
            "env": case["env"],
            "population": case["population"],
            "steps": case["steps"],
            "seed": case["seed"],
            "difficulty": case["difficulty"],
            "max_events_per_tick": case["max_events"],
            "optimization": {"reflect_every_n_ticks": case["reflect_every_n_ticks"]},
            "meta_orchestrator": {"enabled": case["meta"]},
            "objectives": {"enabled": case["objectives"], "templates": case.get("objective_templates")},
            "steering": {"coefficients": case["coefficients"]},
            "policy": {"kind": "heuristic"},
            **more,
        }
    )


def as_numbers(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of an action, digit strings as numbers."""
    return {key: int(v) if isinstance(v, str) and v.isdigit() else v for key, v in fields.items()}
