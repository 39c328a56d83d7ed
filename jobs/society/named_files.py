"""Files that a config names: metadata files fill keys that it leaves out, a playbook becomes part of it.

What is nearer wins: the command line, then the config, then its templates. A metadata file lies directly under the
source that names it, and so over what is further away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .tables import read_playbook
from .templates import overlaid, read_mapping

METADATA = {"steering.metadata_files.personas": "personas", "steering.metadata_files.vectors": "steering"}
"""Keys that name a file, and the section whose keys it fills."""
PLAYBOOK = "meta_orchestrator.playbook_file"
LAYERS, INNER_LAYERS = "layers", "steering.layers"
_UNSAID = object()


@dataclass(frozen=True)
class _Source:
    """Where keys are set: its name, the folder that paths start from, and what it says."""

    name: str
    folder: Path
    data: Mapping[str, Any]

    def file(self, key: str) -> Path | None:
        """Return the file that a key names: beside the config, else in the working folder."""
        named = _said(self.data, key)
        if not isinstance(named, str):
            return None
        candidates = dict.fromkeys((self.folder / named, Path.cwd() / named))
        found = next((candidate for candidate in candidates if candidate.is_file()), None)
        if found is None:
            looked = ", ".join(str(candidate) for candidate in candidates)
            raise FileNotFoundError(f"{key}: {named}: looked for {looked}")
        return found


def with_named_files(
    files: Sequence[tuple[Path, Mapping[str, Any]]], settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a config merged over its templates, with the content of the files that it names.

    Args:
        files: a config and its templates, nearest first.
        settings: of the command line.

    Raises:
        FileNotFoundError: a named file is missing.
        ValueError: it does not hold what it should, an override names one, or one source names different blocks.
    """
    read = [_Source(str(path), path.resolve().parent, data) for path, data in files]
    sources = [_Source("--set", read[0].folder, settings or {}), *read]
    layers = [layer for source in sources for layer in (source.data, *_metadata(source, sources))]
    merged = overlaid(_with_nearest_layers(layers))
    _check_overrides(merged)
    nearest = _nearest(sources, PLAYBOOK)
    file = nearest.file(PLAYBOOK) if nearest else None
    if file is None:
        return merged
    content = read_playbook(file).model_dump(exclude_none=True)
    return {**merged, "meta_orchestrator": {**merged["meta_orchestrator"], "playbook": content}}


def _said(data: Any, dotted: str) -> Any:
    """Return what is said for a dotted key, None also where above it there is no section; `_UNSAID` for nothing."""
    for key in dotted.split("."):
        if not isinstance(data, Mapping):
            return None
        if key not in data:
            return _UNSAID
        data = data[key]
    return data


def _nearest(sources: Sequence[_Source], key: str) -> _Source | None:
    """Return the nearest source that says something for a key."""
    return next((source for source in sources if _said(source.data, key) is not _UNSAID), None)


def _metadata(source: _Source, sources: Sequence[_Source]) -> list[dict[str, Any]]:
    """Return the content of the metadata files that a source, and none nearer, names.

    Raises:
        ValueError: the source has blocks of its own that are not the file's.
    """
    blocks = {key: _said(source.data, key) for key in (LAYERS, INNER_LAYERS)}
    contents = []
    for key, section in METADATA.items():
        file = source.file(key) if _nearest(sources, key) is source else None
        if file is not None:
            contents.append({section: read_mapping(file)})
            blocks[file.name] = _said(contents[-1], INNER_LAYERS)
    told = {key: value for key, value in blocks.items() if value is not _UNSAID and value is not None}
    if any(value != other for value in told.values() for other in told.values()):
        named = ", ".join(f"{value} by {key}" for key, value in told.items())
        raise ValueError(f"{source.name}: the blocks are {named}; allowed is one of them")
    return contents


def _with_nearest_layers(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return mappings, nearest first, without `layers` where a nearer one has `steering.layers`: it would win."""
    kept: list[Mapping[str, Any]] = []
    named = False
    for layer in layers:
        kept.append({key: value for key, value in layer.items() if key != LAYERS} if named else layer)
        named = named or _said(layer, INNER_LAYERS) is not _UNSAID
    return kept


def _check_overrides(config: Mapping[str, Any]) -> None:
    """Refuse overrides that name a file: it would not be read.

    Raises:
        ValueError: there is one.
    """
    overrides = _said(config, "study.overrides")
    for name, changes in overrides.items() if isinstance(overrides, Mapping) else ():
        for key in (*METADATA, PLAYBOOK):
            file = _said(changes, key)
            if file is not _UNSAID and file is not None:
                raise ValueError(f"study.overrides.{name}.{key}: found {file!r}; files belong to the whole study")
