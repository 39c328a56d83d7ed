"""Planning a run again: it keeps its study, only grows, and heals damaged plan files; sites are checked at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..house import TOY, House, payloads

DEMO = ("--set", "levels=1", "--no-probe")


@pytest.fixture(scope="module")
def finished(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy study that is merged."""
    run = house.planned(tmp_path_factory.mktemp("finished") / "run", "levels=1")
    house("local", run, "--jobs", 2)
    return run


def test_a_run_of_another_study_is_refused(house: House, finished: Path) -> None:
    before = payloads(finished)
    done = house("plan", "synergy/demo", "--run", finished, "--no-probe", code=78)
    assert "a run of study toy; synergy needs a folder of its own" in done.stderr
    assert payloads(finished) == before
    assert "study toy" in house("plan", "synergy/demo", "--run", finished, code=78).stderr


def test_a_damaged_phase_is_written_anew_and_its_partials_count(house: House, finished: Path) -> None:
    path = finished / "plan" / "select.json"
    whole = path.read_bytes()
    path.write_bytes(whole + b"x")
    house("status", finished, code=78)
    done = house("plan", TOY / "demo.yaml", "--run", finished, *DEMO)
    assert "damaged, and written anew: select.json" in done.stderr
    assert path.read_bytes() == whole
    assert house("missing", finished).returncode == 0


def test_a_run_that_has_partials_only_grows(house: House, finished: Path) -> None:
    fewer = ("--set", "search.n_trials=6")
    done = house("plan", TOY / "demo.yaml", "--run", finished, *DEMO, *fewer, code=78)
    assert "phase search was planned with 12 units, now 6" in done.stderr
    assert "complete: the report is in" in house("status", finished).stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partitionn: a", "partitionn: unknown key"),
        ("lock_kind: none", "lock_kind: found 'none'"),
        ("max_submit: many", "max_submit: found 'many'"),
        ("extra: [--foo=1]", "--foo is not allowed"),
    ],
)
def test_a_site_that_is_not_allowed_is_refused_by_plan_under_its_own_name(
    house: House, tmp_path: Path, text: str, words: str
) -> None:
    site = tmp_path / "my-site.yaml"
    site.write_text(text)
    run = tmp_path / "run"
    done = house("plan", TOY / "demo.yaml", "--run", run, *DEMO, code=2, QUINTET_SITE=str(site))
    assert str(site) in done.stderr and words in done.stderr and done.stderr.count("\n") == 1
    assert not run.exists()
