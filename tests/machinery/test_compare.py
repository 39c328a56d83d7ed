"""`bin/compare`: equal payloads however they came about, else the first dataset and place that differ."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quintet.merge.compare import command, whole_result
from quintet.shard.commands.base import run_command
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.run import Run

from . import synthetic
from .synthetic import Config, planned, whole


def compared(one: Run, other: Run) -> int:
    with pytest.raises(SystemExit) as ended:
        run_command(command, [str(one.path), str(other.path)])
    return int(ended.value.code or 0)


def test_runs_cut_into_other_shards_are_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = whole(tmp_path / "one", 3, Config(units=41)), whole(tmp_path / "other", 7, Config(units=41))
    assert compared(one, other) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub("[0-9a-f]{12}$", "…", line) for line in lines] == [
        f"{phase}: equal, payload …" for phase in ("measure", "walk", "follow")
    ]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [("rows/score", r"/rows/score\[21\] is .* and .*"), ("stats", r"/stats\[0, 1, .*\] is .* and .*")],
    ids=["row", "statistic"],
)
def test_the_first_dataset_and_place_that_differ_are_named(
    tmp_path: Path,
    dataset: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = whole(tmp_path / "one", 3, Config(units=41))
    right = synthetic.block_of

    def wrong(phase: str, units: range, empty_blocks: bool = False) -> dict[str, Any]:
        block = right(phase, units, empty_blocks)
        if phase == "measure" and units.start == 20:
            block[dataset] = block[dataset].copy()
            block[dataset][-1] = np.nextafter(block[dataset][-1], np.inf)
        return block

    monkeypatch.setattr(synthetic, "block_of", wrong)
    assert compared(one, whole(tmp_path / "other", 3, Config(units=41))) == Exit.CHECK
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert re.fullmatch(f"measure: differs: {expected}; made alike", said[0]), said[0]


def test_a_phase_without_a_result_is_one_line(tmp_path: Path) -> None:
    one, other = whole(tmp_path / "one", 3), planned(tmp_path / "other", 3)
    with pytest.raises(QuintetError, match="no whole result") as caught:
        whole_result(other, "measure")
    assert caught.value.code is Exit.INPUT
    assert compared(one, other) == Exit.INPUT
