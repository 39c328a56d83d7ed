"""A user's own plots: called with the aggregated results and the figures' folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...jobs.synergy.plugin import plugin


def run_plugin(name: str, aggregated: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Call `module:function(aggregated_results, output_dir)`; return what went wrong, by the plugin's name."""
    try:
        plugin(name)(dict(aggregated), folder)
    except Exception as error:
        return {name: f"{type(error).__name__}: {error}".splitlines()[0]}
    return {}
