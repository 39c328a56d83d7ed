"""Flags of the study's commands, and the config that they make on top of a file, a preset and a network."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ...jobs.synergy.config import Config
from ...jobs.synergy.presets import NETWORKS, PRESETS, QUICK, merged
from ..commands.plan import project_folder
from ..configs import find_config, load
from ..dropin import DropIn, options_of, settings_of
from ..errors import Exit, QuintetError

DROP_IN = DropIn(
    sections=("report",),
    flags={
        "--dims": "sweep.dims",
        "--synergy-scales": "sweep.synergy_scales",
        "--runs-per-condition": "sweep.runs_per_condition",
        "--seed": "sweep.base_seed",
        "--experiment-type": "sweep.experiment_type",
        "--epochs": "training.epochs",
        "--batch-size": "data.batch_size",
        "--keep-images": "data.keep_images",
        "--backend": "run.backend",
        "--device": "run.device",
        "--gpu-memory-percent": "run.gpu_memory_percent",
    },
)
LISTS = {"sweep.dims": int, "sweep.synergy_scales": float, "report.plot_metrics": str}
"""Flags whose value is a list with commas."""


def setting_options() -> list[click.Parameter]:
    """Return the options that make a config."""
    return [
        click.Option(["--config"], help="Config file, JSON or YAML (required)."),
        click.Option(["--preset"], type=click.Choice(list(PRESETS)), help="One of the usual sizes."),
        click.Option(["--network"], type=click.Choice(list(NETWORKS)), help="Sizes of network, training and data."),
        click.Option(["--quick"], is_flag=True, help="Dims 8,12 and 2 epochs, to try something out."),
        *options_of(Config, DROP_IN),
    ]


def read_config(name: str) -> dict[str, Any]:
    """Read a config file: JSON as in the reference, or YAML with templates.

    Raises:
        QuintetError: exit 2 where it is missing, is neither, or is no mapping.
    """
    path = find_config(name, project_folder())
    if path.suffix != ".json":
        return with_inputs_beside(load(path), path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise QuintetError(
            Exit.USAGE, f"{path}: not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise QuintetError(Exit.USAGE, f"{path}: cannot be read ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise QuintetError(Exit.USAGE, f"{path}: found {type(found).__name__}; a config is a mapping")
    return with_inputs_beside(found, path)


def with_inputs_beside(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the config with files named relative to it by their full path."""
    inputs = config.get("inputs")
    name = inputs.get("dataset") if isinstance(inputs, dict) else None
    if isinstance(name, str) and not Path(name).is_file() and (path.parent / name).is_file():
        return {**config, "inputs": {**config["inputs"], "dataset": str((path.parent / name).resolve())}}
    return config


def listed(key: str, text: str) -> list[Any]:
    """Return the values of a list with commas.

    Raises:
        QuintetError: exit 2 where it is empty or a value is none.
    """
    kind = LISTS[key]
    flag = f"--{key.partition('.')[2].replace('_', '-')}"
    words = {int: "whole numbers from 1", float: "numbers from 0", str: "names"}[kind]
    parts = [part.strip() for part in text.split(",")]
    try:
        if not all(parts):
            raise ValueError
        return [kind(part) for part in parts]
    except ValueError:
        raise QuintetError(Exit.USAGE, f"{flag}: found {text!r}; allowed are {words} with commas between") from None


def from_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a command line: flags over --quick and --network, over --preset, over the file.

    Args:
        values: what click made of the options of `setting_options`; `config` None means defaults.
    """
    given = dict(values)
    name, preset, network, quick = (given.pop(key) for key in ("config", "preset", "network", "quick"))
    for key in LISTS:
        option = key.replace(".", "__")
        if given.get(option) is not None:
            given[option] = listed(key, given[option])
    flags = settings_of(given, DROP_IN)
    layers = [{} if name is None else read_config(name), PRESETS[preset] if preset else {}]
    layers += [NETWORKS[network] if network else {}, QUICK if quick else {}, flags]
    config = merged(*layers)
    if any("epochs" in layer.get("training", {}) for layer in layers[1:]):
        config["training"] = without_own_epochs(config["training"])
    return config


def without_own_epochs(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section with no experiment type that has epochs of its own."""
    entries = training.get("loss_configs")
    if not isinstance(entries, list):
        return dict(training)
    kept = [
        {key: value for key, value in entry.items() if key != "epochs"} if isinstance(entry, dict) else entry
        for entry in entries
    ]
    return {**training, "loss_configs": kept}


def template() -> dict[str, Any]:
    """Return a whole config with the defaults, in the layout of the reference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = Config().model_dump(mode="json")
    for section in ("inputs", "experiment"):
        config.pop(section)
    config["data"].pop("dir")
    config["model"]["domains"] = [
        {"name": "attr", "domain_type": "attr"},
        {"name": "v", "domain_type": "v_latents"},
    ]
    # what follows from another key stays free to follow it
    config["visual"]["lr"] = config["run"]["group"] = None
    return config
