"""A little of the fuzzing in every test run, the same cases each time; hours of it by `python -m tests.fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .targets import TARGETS, Ground, tried


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("ground"))


@pytest.mark.parametrize("cases", [4, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("target", TARGETS)
def test_hostile_bytes_break_nothing(ground: Ground, tmp_path: Path, target: str, cases: int) -> None:
    found = [tried(target, ground, tmp_path / "case", f"0.{target}.{number}") for number in range(cases)]
    assert found == [None] * cases


@pytest.mark.parametrize(
    ("target", "seed"),
    [
        ("arguments", "2.arguments.45"),
        ("databases", "4.databases.51"),
        ("records", "2.records.104"),
        ("records", "3.records.3"),
        ("records", "3.records.47"),
        ("records", "3.records.53"),
    ],
)
def test_what_hours_of_it_broke_once_stays_mended(ground: Ground, tmp_path: Path, target: str, seed: str) -> None:
    assert tried(target, ground, tmp_path / "case", seed) is None
