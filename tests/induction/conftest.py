"""Fixtures that several test files of the study share."""

from __future__ import annotations

import pytest
from quintet.shard.run import Run

from .neural_stores import neural_run
from .runs import complete


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two trainings of one problem with exact truth, merged without their report; nobody writes to it."""
    run = neural_run(tmp_path_factory.mktemp("neural") / "run")
    complete(run)
    return run
