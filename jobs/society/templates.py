"""Configs as YAML files that inherit from each other with `template: other.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import RunConfig

PACKAGED = Path(__file__).parent / "data"


def merged_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over`: mappings merge key by key, everything else replaces."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            result[key] = merged_over(inner, value)
        else:
            result[key] = value
    return result


def read_mapping(path: Path, named_by: Path | None = None) -> dict[str, Any]:
    """Return the mapping of a YAML file, `{}` for an empty one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, or no mapping.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        origin = f" (template of {named_by})" if named_by else ""
        raise FileNotFoundError(f"{path}: no such file{origin}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ValueError(f"{path}: found {type(data).__name__}; allowed is a mapping")
    return data


def template_chain(path: str | Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return a config file and its templates as they stand, nearest first, each without the key `template`.

    A template's path is relative to the file that names it, or absolute.

    Raises:
        ValueError: the files name each other in a circle, or one holds no mapping.
        FileNotFoundError: the file or a template is missing.
    """
    chain: list[tuple[Path, dict[str, Any]]] = []
    current: Path | None = Path(path)
    while current is not None:
        resolved = current.resolve()
        known = [file for file, _ in chain]
        if resolved in known:
            names = " -> ".join(item.name for item in [*known, resolved])
            raise ValueError(f"{path}: template: the files name each other in a circle: {names}")
        data = read_mapping(current, known[-1] if known else None)
        template = data.pop("template", None)
        if template is not None and not isinstance(template, str):
            raise ValueError(f"{current}: template: found {template!r}; allowed is the name of a YAML file")
        chain.append((resolved, data))
        current = resolved.parent / template if template is not None else None
    return chain


def merge_templates(path: str | Path) -> dict[str, Any]:
    """Return a config file merged over its templates, before validation; see `template_chain`."""
    return overlaid([data for _, data in template_chain(path)])


def overlaid(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mappings merged over each other, nearest first."""
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged = merged_over(merged, layer)
    return merged


def load_config(path: str | Path) -> RunConfig:
    """Return the validated config of a YAML file with what the files that it names hold; see `with_named_files`.

    Resources (`phases`) are not science and are passed over.

    Raises:
        ValueError: the templates form a circle, or a value is not allowed (pydantic's ValidationError).
        FileNotFoundError: the file, a template or another named file is missing.
    """
    from .config import RunConfig
    from .named_files import with_named_files

    data = with_named_files(template_chain(path))
    data.pop("phases", None)
    if isinstance(data.get("study"), str):
        data.pop("study")
    return RunConfig(**data)
