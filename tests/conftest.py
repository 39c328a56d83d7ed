"""Fixtures of all tests."""

from __future__ import annotations

import pytest

from .house import House, build_house


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The suite with the toy study moved in."""
    return House(build_house(tmp_path_factory.mktemp("house")))
