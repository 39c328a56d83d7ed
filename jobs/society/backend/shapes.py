"""How many decoder blocks a model has and how wide it is, as its files say before anything is loaded."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .store import SMOLLM2


@dataclass(frozen=True)
class ModelShape:
    """A model's family (`llama`, ...), its number of decoder blocks and the width of its residual stream."""

    family: str
    blocks: int
    hidden: int


def model_shape(name: str) -> ModelShape | None:
    """Return the shape of a model; None where it has none (`mock`), or there is no such model.

    Raises:
        FileNotFoundError: reading a GGUF file needs a package that is not installed.
        ValueError: the file, or the folder's `config.json`, does not describe a model.
    """
    if name == "tiny-random":
        from .tiny import ARCHITECTURE

        return ModelShape("llama", ARCHITECTURE.blocks, ARCHITECTURE.hidden)
    if name == SMOLLM2:
        return ModelShape("llama", 30, 576)
    path = Path(name)
    if path.is_file():
        found = path.stat()
        return _gguf_shape(path, found.st_mtime_ns, found.st_size)
    about = path / "config.json"
    return _folder_shape(about) if about.is_file() else None


def _folder_shape(about: Path) -> ModelShape:
    try:
        values = json.loads(about.read_text(encoding="utf-8"))
        return ModelShape(str(values["model_type"]), int(values["num_hidden_layers"]), int(values["hidden_size"]))
    except KeyError as error:
        raise ValueError(f"{about}: the key {error} is missing") from None
    except (TypeError, ValueError):
        raise ValueError(f"{about}: not a readable config of a model") from None


@lru_cache(maxsize=8)
def _gguf_shape(path: Path, changed: int, size: int) -> ModelShape:
    """Read the header of a GGUF file; when it was changed and its size stand for its content."""
    if importlib.util.find_spec("gguf") is None:
        raise FileNotFoundError(f"{path}: reading it needs the package gguf; install it")
    from gguf import GGUFReader

    try:
        fields = GGUFReader(path).fields
        family = bytes(fields["general.architecture"].parts[-1]).decode()
        blocks, hidden = (_number(fields[f"{family}.{key}"]) for key in ("block_count", "embedding_length"))
    except Exception as error:  # what a damaged file does to its reader is not known
        raise ValueError(f"{path}: not a readable GGUF model: {' '.join(str(error).split())[:200]}") from None
    return ModelShape(family, blocks, hidden)


def _number(field: Any) -> int:
    return int(field.parts[-1].tolist()[0])
