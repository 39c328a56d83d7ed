"""World files: YAML or JSON text with a map, read and checked key by key."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .cells import COLOURS, GROUND, REJECTED

LARGEST_MAX_STEPS = 1_000_000
DIRECTIONS = {"e": 0, "s": 1, "w": 2, "n": 3}
ACTION_SETS = {"SmallActions": 4, "ObjectActions": 7}
KEYS = (
    "map",
    "max_steps",
    "orientations",
    "can_push_rocks",
    "action_class",
    "stumble_probability",
    "possible_goals",
    "name",
    "metadata",
)
IGNORED_KEYS = (
    "seed",
    "partial_obs",
    "agent_view_size",
    "see_through_walls",
    "grid_size",
    "width",
    "height",
    "enter_bush_success_prob",
    "solidify_probability",
)
"""Keys of the format that change nothing for the objects that this study computes."""


class WorldError(ValueError):
    """A world that cannot be computed; the message is one line that names key, value and what is allowed."""


class MissingWorldError(WorldError, FileNotFoundError):
    """A world file that is not there."""


def read_world(source: str | Path) -> tuple[dict[str, Any], str | None]:
    """Return the mapping in a YAML or JSON file (or text: a str with a newline) and the file's name without extension.

    Raises:
        MissingWorldError: no such file.
        WorldError: neither JSON nor YAML, or no mapping.
    """
    if isinstance(source, str) and "\n" in source:
        text, label, stem = source, "text", None
    else:
        path = Path(source)
        label, stem = path.name, path.stem
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise MissingWorldError(f"world: file {str(source)!r} does not exist") from None
        except (OSError, UnicodeDecodeError) as error:
            raise WorldError(f"world: file {str(source)!r} cannot be read: {error}") from None
    try:
        found = json.loads(text)
    except ValueError:
        found = _yaml(text, label)
    if not isinstance(found, dict):
        raise WorldError(f"world: {label} holds {type(found).__name__}, not a mapping with the key 'map'")
    return found, stem


def _yaml(text: str, label: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise WorldError(f"world: {label} is neither JSON nor YAML: {reason}") from None


def check_keys(mapping: Mapping[str, Any], allow_unknown_keys: bool) -> None:
    """Refuse (or, if allowed, warn of) keys that the format does not have.

    Raises:
        WorldError: an unknown key.
    """
    for key in mapping:
        if key in KEYS or key in IGNORED_KEYS:
            continue
        message = f"world: unsupported key {key!r} would change the dynamics"
        if not allow_unknown_keys:
            raise WorldError(message)
        warnings.warn(message, stacklevel=4)


def parse_map(value: Any) -> list[list[str]]:
    """Return the map's rows of two-character codes, all of one width and supported.

    Raises:
        WorldError: no map, an odd row, rows of different width, unknown or unsupported codes (all are listed).
    """
    rows: list[list[str]] = []
    lines = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, list | tuple):
        raise WorldError(f"world: key 'map' is {value!r}; allowed are a block of text, a list of rows, a list of lists")
    for line in lines:
        if isinstance(line, list | tuple):
            codes = ["".join(str(code).split()) for code in line]
            odd = next((code for code in codes if len(code) != 2), None)
            if odd is not None:
                raise WorldError(f"world: map row {len(rows)} has the cell {odd!r}; a cell is two characters")
        elif isinstance(line, str):
            text = "".join(line.split())
            if len(text) % 2:
                raise WorldError(
                    f"world: map row {len(rows)} {line.strip()!r} has an odd number of characters ({len(text)}); "
                    "a cell is two characters"
                )
            codes = [text[i : i + 2] for i in range(0, len(text), 2)]
        else:
            raise WorldError(f"world: map row {len(rows)} is {line!r}; allowed are text and a list of codes")
        if codes:
            rows.append(codes)
    if not rows:
        raise WorldError("world: key 'map' is empty; at least one row of cells is needed")
    for y, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise WorldError(f"world: map row {y} has {len(row)} cells, row 0 has {len(rows[0])}; all must be as wide")
    cells = [(x, y, code) for y, row in enumerate(rows) for x, code in enumerate(row)]
    unknown = [f"{code!r} at ({x},{y})" for x, y, code in cells if code not in GROUND and code not in REJECTED]
    if unknown:
        raise WorldError(f"world: unknown cell code {', '.join(unknown)}")
    rejected = [
        f"cell ({x},{y}) {code!r} ({REJECTED[code]})" for x, y, code in cells if code in REJECTED and code not in GROUND
    ]
    if rejected:
        verb = "is" if len(rejected) == 1 else "are"
        raise WorldError(f"world: {', '.join(rejected)} {verb} not supported by the induction study")
    return rows


def parse_max_steps(value: Any) -> int:
    """Return the horizon.

    Raises:
        WorldError: not a whole number from 1 on.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_MAX_STEPS:
        raise WorldError(
            f"world: key 'max_steps' is {value!r}; allowed are whole numbers from 1 to {LARGEST_MAX_STEPS}"
        )
    return value


def _direction(value: Any) -> int:
    if isinstance(value, str) and value in DIRECTIONS:
        return DIRECTIONS[value]
    if not isinstance(value, bool) and isinstance(value, int) and 0 <= value <= 3:
        return value
    raise WorldError(f"world: key 'orientations' holds {value!r}; allowed are 0-3 and the letters e, s, w, n")


def parse_orientations(value: Any, n_agents: int) -> tuple[int, ...]:
    """Return every agent's initial direction; one value is for all agents, a short list is padded with 0.

    Raises:
        WorldError: a direction out of range, or more directions than agents.
    """
    if not isinstance(value, list | tuple):
        return (_direction(value),) * n_agents
    if len(value) > n_agents:
        raise WorldError(f"world: key 'orientations' has {len(value)} entries for {n_agents} agents")
    return tuple(_direction(entry) for entry in value) + (0,) * (n_agents - len(value))


def parse_pushers(value: Any) -> str:
    """Return the colour letters of those who may push rocks.

    Raises:
        WorldError: not text of colour letters.
    """
    if value is None:
        return ""
    if not isinstance(value, str) or any(letter not in COLOURS for letter in value):
        allowed = "".join(COLOURS)
        raise WorldError(f"world: key 'can_push_rocks' is {value!r}; allowed are the colour letters {allowed}, or null")
    return value


def parse_action_class(value: Any, has_switches: bool) -> str:
    """Return the action set; chosen by the map's switches where the file names none.

    Raises:
        WorldError: a set without a 'still' action 0, or an unknown one.
    """
    if value is None:
        return "ObjectActions" if has_switches else "SmallActions"
    if value not in ACTION_SETS:
        raise WorldError(
            f"world: key 'action_class' is {value!r}: not supported: "
            "the study needs a 'still' action 0 and the action sets SmallActions or ObjectActions"
        )
    return str(value)


def parse_stumble(value: Any) -> float:
    """Return the probability of stumbling on unsteady ground; YAML reads 1e-5, which has no point, as text.

    Raises:
        WorldError: not a number in [0, 1].
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not 0 <= found <= 1:
        raise WorldError(f"world: key 'stumble_probability' is {value!r}; allowed are numbers from 0 to 1")
    return found


def canonical(mapping: Mapping[str, Any], rows: list[list[str]]) -> str:
    """Return the mapping as JSON text in which the map is a list of rows; what run files keep of a world."""
    kept = {key: value for key, value in mapping.items() if key in KEYS}
    try:
        return json.dumps({**kept, "map": [" ".join(row) for row in rows]}, sort_keys=True, default=str)
    except (TypeError, ValueError) as error:
        raise WorldError(f"world: a value is no text, number, list or mapping: {error}") from None
