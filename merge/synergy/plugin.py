"""A user's own plots: a function that the config names, called with the aggregated results and the figures' folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any


def run_plugin(name: str, aggregated: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Call `module:function(aggregated_results, output_dir)`; return what went wrong, by the plugin's name.

    The module is looked for in the working directory, too.
    """
    module, _, function = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        getattr(import_module(module), function)(dict(aggregated), folder)
    except Exception as error:
        return {name: f"{type(error).__name__}: {error}".splitlines()[0]}
    finally:
        sys.path.pop(0)
    return {}
