"""`bin/pack`: many partials become one, and nothing that a run promises is lost by it."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from quintet.shard.errors import Exit

from ..house import House, merged_all, payloads

SMALL = ("levels=2", "search.n_trials=8", "search.sampler=random")
PACKED = {"select", "simulate", "level-00", "level-01", "walk"}


@pytest.fixture(scope="module")
def whole(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged run."""
    run = house.planned(tmp_path_factory.mktemp("whole") / "run", *SMALL)
    merged_all(house, run)
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of the merged run."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def files(run: Path) -> dict[str, int]:
    """Return how many partials each phase has."""
    return {folder.name: len(list(folder.rglob("*.h5"))) for folder in (run / "partials").iterdir()}


def test_every_phase_but_the_search_becomes_one_file_and_all_verbs_stay_truthful(
    house: House, whole: Path, run: Path
) -> None:
    before = files(run)
    assert before["simulate"] > 1
    house("pack", run)
    assert files(run) == before | dict.fromkeys(PACKED, 1)
    assert payloads(run) == payloads(whole)
    status = json.loads(house("status", run, "--json").stdout)
    assert all(phase["merged"] and phase["complete"] for phase in status["phases"])
    assert [phase["cpu_h"] for phase in status["phases"]] == [
        phase["cpu_h"] for phase in json.loads(house("status", whole, "--json").stdout)["phases"]
    ]
    house("missing", run)
    house("verify", run)
    assert "unchanged" in house("local", run).stdout
    house("pack", run)
    assert files(run) == before | dict.fromkeys(PACKED, 1)


def test_a_lost_packed_file_is_missing_and_is_computed_again(house: House, whole: Path, run: Path) -> None:
    house("pack", run, "simulate")
    (packed,) = (run / "partials" / "simulate").rglob("*.h5")
    packed.unlink()
    assert "absent" in house("missing", run, "simulate", code=1).stderr
    house("merge", run, "simulate", code=Exit.INCOMPLETE)
    assert merged_all(house, run) == payloads(whole)


def test_a_packed_run_can_be_planned_again_and_extended(house: House, run: Path, tmp_path: Path) -> None:
    house("pack", run)
    longer = ("levels=2", "search.n_trials=12", "search.sampler=random")
    house.planned(run, *longer)
    other = house.planned(tmp_path / "other", *longer)
    assert merged_all(house, run) == merged_all(house, other)


def test_what_cannot_be_packed_is_one_line(house: House, whole: Path, run: Path) -> None:
    assert "cannot be packed" in house("pack", run, "search", code=Exit.USAGE).stderr
    assert "PHASE: found 'dance'" in house("pack", run, "dance", code=Exit.USAGE).stderr
    next((run / "partials" / "simulate").rglob("*.h5")).unlink()
    assert "not merged from the partials" in house("pack", run, "simulate", code=Exit.INCOMPLETE).stderr


def test_a_kill_at_any_time_loses_no_block(house: House, whole: Path, run: Path) -> None:
    dice = random.Random(5)
    for _ in range(8):
        house.killed(dice.uniform(0.2, 1.6), "pack", run)
        house("missing", run)
    house("pack", run)
    assert files(run)["simulate"] == 1
    assert merged_all(house, run) == payloads(whole)
    house("verify", run)
