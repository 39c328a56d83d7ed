"""Fixtures of all tests."""

from __future__ import annotations

import pytest

from .house import House, build_house

LONG = (
    "tests/docs/",
    "tests/machinery/test_toy_study.py",
    "tests/conspec/",
    "tests/society/",
    "tests/synergy/",
    "tests/induction/",
    "tests/complementarity/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files, so that the processes of a parallel run end at the same time."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The suite with the toy study moved in."""
    return House(build_house(tmp_path_factory.mktemp("house")))
