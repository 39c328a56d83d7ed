"""The packaged YAML tables: role duties and reminders, probes, persona ranges, and their checks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .templates import PACKAGED, read_mapping

if TYPE_CHECKING:
    from .config import MetaSection, Playbook


@cache
def packaged_table(name: str) -> Any:
    """Return the content of a packaged YAML table."""
    return read_mapping(PACKAGED / name)


def read_playbook(path: str | Path) -> Playbook:
    """Return the playbook of a YAML file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, or not a playbook.
    """
    from pydantic import ValidationError

    from .config import Playbook

    try:
        return Playbook.model_validate(read_mapping(Path(path)))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "playbook"
        raise ValueError(f"{path}: {key}: {first['msg'].removeprefix('Value error, ')}") from None


def playbook(section: MetaSection | None = None) -> dict[str, Any]:
    """Return the playbook of a run: `roles: {role: {duty, description, hints, reminders}}` and `reminders`.

    It is the section's own, that of its file, or the packaged one.

    Raises:
        FileNotFoundError: the named file is missing.
        ValueError: it is no playbook.
    """
    own = section.playbook if section else None
    if section and own is None and section.playbook_file is not None:
        own = read_playbook(section.playbook_file)
    content: dict[str, Any] = packaged_table("meta.playbook.yaml") if own is None else own.model_dump(exclude_none=True)
    return content
