"""The library of vectors: extracted once per model, then read from the cache folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .contrast import load_contrast_items
from .steering import PersonaVectors
from .traits import TRAITS
from .vectors import compute_vectors, items_sha256

if TYPE_CHECKING:
    from .backend import Backend


def save_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays as .npz, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    fresh.replace(path)


def vector_arrays(vectors: PersonaVectors) -> dict[str, NDArray[Any]]:
    """Return vectors as arrays: `<trait>/blocks` i4[b], `<trait>/directions` f4[b, hidden], `<trait>/norms` f8[b]."""
    arrays: dict[str, NDArray[Any]] = {}
    for trait, blocks in vectors.directions.items():
        order = sorted(blocks)
        arrays[f"{trait}/blocks"] = np.array(order, np.int32)
        arrays[f"{trait}/directions"] = np.array([blocks[block] for block in order], np.float32)
        arrays[f"{trait}/norms"] = np.array([vectors.norms[trait][block] for block in order], np.float64)
    return arrays


def vectors_from(arrays: dict[str, NDArray[Any]], model_sha256: str = "") -> PersonaVectors:
    """Return the vectors that `vector_arrays` made into arrays."""
    directions: dict[str, dict[int, Any]] = {}
    norms: dict[str, dict[int, float]] = {}
    for trait in TRAITS:
        if f"{trait}/blocks" in arrays:
            order = [int(block) for block in arrays[f"{trait}/blocks"]]
            directions[trait] = dict(zip(order, arrays[f"{trait}/directions"], strict=True))
            norms[trait] = dict(zip(order, arrays[f"{trait}/norms"].tolist(), strict=True))
    return PersonaVectors(directions, norms, model_sha256)


def known_vectors(backend: Backend) -> PersonaVectors:
    """Return a model's vectors over all blocks, from the packaged contrast items.

    Models with weights keep theirs in the cache folder under the digests of model and items.
    """
    items = load_contrast_items()
    if backend.folder is None:
        return compute_vectors(backend, items)
    from .backend.store import cache_folder

    name = f"{backend.sha256[:16]}-{items_sha256(items)[:16]}-{backend.dtype}.npz"
    path = cache_folder() / "vectors" / name
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            return vectors_from({key: stored[key] for key in stored.files}, backend.sha256)
    vectors = compute_vectors(backend, items)
    save_arrays(path, vector_arrays(vectors))
    return vectors


def load_vectors(folder: str | Path) -> PersonaVectors:
    """Return the vectors of a folder with `vectors.npz` and `vectors.json` (its key `model_sha256`).

    Raises:
        FileNotFoundError: the folder has no `vectors.npz`.
    """
    path = Path(folder) / "vectors.npz"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    about = Path(folder) / "vectors.json"
    sha256 = json.loads(about.read_text(encoding="utf-8")).get("model_sha256", "") if about.is_file() else ""
    with np.load(path, allow_pickle=False) as stored:
        return vectors_from({key: stored[key] for key in stored.files}, sha256)


def save_vectors(vectors: PersonaVectors, folder: str | Path) -> None:
    """Write vectors as a folder that `load_vectors` reads."""
    path = Path(folder)
    save_arrays(path / "vectors.npz", vector_arrays(vectors))
    (path / "vectors.json").write_text(json.dumps({"model_sha256": vectors.model_sha256}), encoding="utf-8")
