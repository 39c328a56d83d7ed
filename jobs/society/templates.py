"""Configs as YAML files that inherit from each other with `template: other.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
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


def _read(path: Path, named_by: Path | None) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        origin = f" (template of {named_by})" if named_by else ""
        raise FileNotFoundError(f"{path}: no such file{origin}") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ValueError(f"{path}: found {type(data).__name__}; a config is a mapping")
    return data


def merge_templates(path: str | Path) -> dict[str, Any]:
    """Return a config file merged over its templates, before validation and without the key `template`.

    A template's path is relative to the file that names it, or absolute.

    Raises:
        ValueError: the files name each other in a circle, or one holds no mapping.
        FileNotFoundError: the file or a template is missing.
    """
    chain: list[Path] = []
    layers: list[dict[str, Any]] = []
    current: Path | None = Path(path)
    while current is not None:
        resolved = current.resolve()
        if resolved in chain:
            names = " -> ".join(item.name for item in [*chain, resolved])
            raise ValueError(f"{path}: template: the files name each other in a circle: {names}")
        data = _read(current, chain[-1] if chain else None)
        chain.append(resolved)
        template = data.pop("template", None)
        if template is not None and not isinstance(template, str):
            raise ValueError(f"{current}: template: found {template!r}; allowed is the name of a YAML file")
        layers.append(data)
        current = resolved.parent / template if template is not None else None
    merged: dict[str, Any] = {}
    for data in reversed(layers):
        merged = merged_over(merged, data)
    return merged


def load_config(path: str | Path) -> RunConfig:
    """Return the validated config of a YAML file.

    Metadata files (`steering.metadata_files`) are looked up beside the config, then in the working folder, and what
    they hold fills the keys that the config leaves out. Resources (`phases`) are not science and are passed over.

    Raises:
        ValueError: the templates form a circle, or a value is not allowed (pydantic's ValidationError).
        FileNotFoundError: the file, a template or a metadata file is missing.
    """
    from .config import RunConfig

    data = merge_templates(path)
    data.pop("phases", None)
    if isinstance(data.get("study"), str):
        data.pop("study")
    return RunConfig(**with_metadata(data, Path(path).resolve().parent))


def with_metadata(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return config data with the content of its metadata files put where the config says nothing.

    Raises:
        FileNotFoundError: a named file is neither beside the config nor in the working folder.
    """
    steering = data.get("steering") or {}
    named = (steering.get("metadata_files") or {}) if isinstance(steering, Mapping) else {}
    if not isinstance(named, Mapping):
        return data
    defaults: dict[str, Any] = {}
    for key in ("personas", "vectors"):
        name = named.get(key)
        if not isinstance(name, str):
            continue
        candidates = [folder / name, Path.cwd() / name]
        found = next((candidate for candidate in candidates if candidate.is_file()), None)
        if found is None:
            looked = ", ".join(str(candidate) for candidate in candidates)
            raise FileNotFoundError(f"steering.metadata_files.{key}: {name}: looked for {looked}")
        content = _read(found, None)
        defaults = merged_over(defaults, {"personas": content} if key == "personas" else {"steering": content})
    if "layers" in data and "steering" in defaults:
        defaults["steering"].pop("layers", None)
    return merged_over(defaults, data)
