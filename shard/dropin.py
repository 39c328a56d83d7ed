"""The drop-in command of a study: its flags are the config schema's fields, under the spellings of old."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click


@dataclass(frozen=True)
class DropIn:
    """One command of a study that makes a config and runs it.

    Attributes:
        sections: config sections whose fields are flags (`n_seeds` is `--n-seeds`).
        flags: further flags, or other spellings: flag (several separated by `/`) -> config key.
        defaults: values that this command has where the schema has another default.
        only: the one phase that is run (a study's earlier script); None runs all.
        hidden: config keys of the sections that are no flags.
        then: module that is started with the run directory once `only` is merged; its figures and tables.
        switches: flags without a value: flag -> (config key, the value that the flag stands for).
    """

    sections: tuple[str, ...]
    flags: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    only: str | None = None
    hidden: tuple[str, ...] = ()
    then: str | None = None
    switches: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def submit_option() -> click.Option:
    """Return the flag that hands a study's run to Slurm."""
    return click.Option(["--submit"], is_flag=True, help="Submit to Slurm instead of running here.")


def field_of(config: Any, key: str) -> Any:
    """Return the pydantic field of a dotted config key."""
    head, _, rest = key.partition(".")
    found = config.model_fields[head]
    return field_of(model_in(found.annotation), rest) if rest else found


def model_in(annotation: Any) -> Any:
    """Return the model of a section, also of one that may be absent."""
    if get_origin(annotation) in {Union, UnionType}:
        return next(item for item in get_args(annotation) if item is not NoneType)
    return annotation


def click_type(annotation: Any) -> Any:
    """Return the click type that shows a field's allowed values; bounds are the schema's to check."""
    choices = [item for item in get_args(annotation) if item is not NoneType]
    if get_origin(annotation) in {Union, UnionType}:
        return click_type(choices[0])
    if get_origin(annotation) is Literal:
        return click.Choice([str(item) for item in choices])
    if annotation in {int, float, str, bool}:
        return annotation
    return str


def keys_of(config: Any, command: DropIn) -> dict[str, str]:
    """Return the flags of a command: spelling -> config key."""
    renamed = set(command.flags.values()) | set(command.hidden)
    found = dict(command.flags)
    for section in command.sections:
        for name in model_in(config.model_fields[section].annotation).model_fields:
            key = f"{section}.{name}"
            if key not in renamed:
                found[f"--{name.replace('_', '-')}"] = key
    return found


def options_of(config: Any, command: DropIn) -> list[click.Option]:
    """Return the click options of a command, with the defaults that hold without them."""
    options = []
    for spelling, key in keys_of(config, command).items():
        found = field_of(config, key)
        default = command.defaults.get(key, found.get_default(call_default_factory=True))
        kind = click_type(found.annotation)
        text = found.description or key
        names = [f"{spelling}/--no-{spelling.removeprefix('--')}"] if kind is bool else spelling.split("/")
        shown = "" if default is None or default == () else f"  [default: {default}]"
        options.append(click.Option([*names, key.replace(".", "__")], type=kind, default=None, help=text + shown))
    for spelling, (key, value) in command.switches.items():
        name, text = key.replace(".", "__"), f"{key} {value}"
        options.append(click.Option([spelling, name], flag_value=value, type=str, default=None, help=text))
    return options


def settings_of(values: Mapping[str, Any], command: DropIn) -> dict[str, Any]:
    """Return the config that the given flags and the command's defaults make, as nested sections."""
    config: dict[str, Any] = {}
    given = {key.replace("__", ".", 1): value for key, value in values.items() if value is not None}
    for key, value in {**command.defaults, **given}.items():
        head, _, rest = key.partition(".")
        place = config.setdefault(head, {}) if rest else config
        place[rest or head] = value
    return config
