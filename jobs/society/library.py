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


VECTORS, ABOUT = "vectors.npz", "vectors.json"


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
    """Return the vectors that `vector_arrays` made into arrays; a trait without blocks is left out.

    Raises:
        ValueError: the arrays of a trait do not fit each other, or a vector has no length.
        KeyError: directions or norms of a trait are missing.
    """
    directions: dict[str, dict[int, Any]] = {}
    norms: dict[str, dict[int, float]] = {}
    widths: set[tuple[int, ...]] = set()
    for trait in (letter for letter in TRAITS if f"{letter}/blocks" in arrays):
        blocks, vectors, lengths = (arrays[f"{trait}/{name}"] for name in ("blocks", "directions", "norms"))
        count, widths = len(blocks), widths | {vectors.shape[1:]}
        fitting = (blocks.shape, vectors.shape[:1], lengths.shape) == ((count,),) * 3 and vectors.ndim == 2
        if not (count and fitting and len(widths) == 1 and np.isfinite(lengths).all()):
            raise ValueError(
                f"{trait}: found blocks {list(blocks.shape)}, directions {list(vectors.shape)}, norms "
                f"{list(lengths.shape)}; allowed are [b], [b, width], [b] with finite norms and one width for all"
            )
        order = [int(block) for block in blocks]
        directions[trait] = dict(zip(order, vectors, strict=True))
        norms[trait] = dict(zip(order, lengths.tolist(), strict=True))
    return PersonaVectors(directions, norms, model_sha256)


def _stored(path: Path, model_sha256: str) -> PersonaVectors:
    """Return the vectors of an .npz file.

    Raises:
        ValueError: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return vectors_from({name: arrays[name] for name in arrays.files}, model_sha256)
    except Exception as error:  # what a damaged file does to numpy and zipfile is not known
        raise ValueError(f"{path}: no readable vectors: {' '.join(str(error).split())[:200]}") from None


def _model_of(about: Path) -> str:
    """Return the model that a folder's vectors were extracted from; empty where it does not say.

    Raises:
        ValueError: the file is no JSON object, or the key `model_sha256` no text.
    """
    if not about.is_file():
        return ""
    try:
        content = json.loads(about.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{about}: not JSON: {error}") from None
    found = content.get("model_sha256", "") if isinstance(content, dict) else None
    if not isinstance(found, str):
        raise ValueError(f"{about}: model_sha256: found {found!r}; allowed is a text")
    return found


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
        return _stored(path, backend.sha256)
    vectors = compute_vectors(backend, items)
    save_arrays(path, vector_arrays(vectors))
    return vectors


def load_vectors(folder: str | Path) -> PersonaVectors:
    """Return the vectors of a folder with `vectors.npz` and `vectors.json` (its key `model_sha256`).

    Raises:
        FileNotFoundError: the folder has no `vectors.npz`.
        ValueError: one of the files is damaged.
    """
    path = Path(folder) / VECTORS
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    return _stored(path, _model_of(path.with_name(ABOUT)))


def save_vectors(vectors: PersonaVectors, folder: str | Path) -> None:
    """Write vectors as a folder that `load_vectors` reads."""
    path = Path(folder)
    save_arrays(path / VECTORS, vector_arrays(vectors))
    (path / ABOUT).write_text(json.dumps({"model_sha256": vectors.model_sha256}), encoding="utf-8")
