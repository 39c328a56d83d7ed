"""The packaged YAML tables: role duties and reminders, probes, persona ranges, and their checks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from .templates import PACKAGED


@cache
def packaged_table(name: str) -> Any:
    """Return the content of a packaged YAML table."""
    return read_table(PACKAGED / name)


def read_table(path: str | Path) -> Any:
    """Return the content of a YAML table.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}") from None


def playbook(path: str | None = None) -> dict[str, Any]:
    """Return the playbook: `roles: {role: {duty, description, hints, reminders}}` and `reminders`.

    Raises:
        FileNotFoundError: the named file is missing.
        ValueError: it has no mapping `roles`.
    """
    content = read_table(path) if path else packaged_table("meta.playbook.yaml")
    if not isinstance(content, dict) or not isinstance(content.get("roles"), dict):
        raise ValueError(f"{path}: a playbook is a mapping with the key roles")
    return content
