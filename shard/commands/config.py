"""`config`: show, validate or compare configs without planning."""

from __future__ import annotations

import json
from typing import Any

import click

from ..configs import find_config, loaded, validated
from .base import run_command
from .plan import packaged_inputs, project_folder, with_existing_inputs


def resolved_config(name: str, settings: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a config validated, with its templates, settings and defaults filled in."""
    project = project_folder()
    path = find_config(name, project)
    raw, study = loaded(path, settings)
    raw = with_existing_inputs(raw, path.resolve().parent, packaged_inputs(study, project))
    return validated(raw, study, str(path))[0]


def flattened(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a config with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        inner = isinstance(value, dict) and value
        flat |= flattened(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


@click.group("config")
def command() -> None:
    """Look at configs: a path, or STUDY/NAME below configs/."""


@command.command()
@click.argument("name")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a config value.")
def show(name: str, settings: tuple[str, ...]) -> None:
    """Print a config as it would be frozen, defaults included."""
    import yaml

    click.echo(yaml.safe_dump(resolved_config(name, settings), sort_keys=False, allow_unicode=True), nl=False)


@command.command()
@click.argument("names", nargs=-1, required=True)
def validate(names: tuple[str, ...]) -> None:
    """Validate configs; exit 2 at the first that is wrong."""
    for name in names:
        resolved_config(name)
        click.echo(f"{name}: valid")


@command.command()
@click.argument("first")
@click.argument("second")
def diff(first: str, second: str) -> int:
    """List the values in which two configs differ; exit 1 if there are any."""
    one, other = flattened(resolved_config(first)), flattened(resolved_config(second))
    differing = [key for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)]
    for key in differing:
        click.echo(f"{key}: {json.dumps(one.get(key))} -> {json.dumps(other.get(key))}")
    return int(bool(differing))


if __name__ == "__main__":
    run_command(command)
