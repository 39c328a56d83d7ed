"""What figures and tables hold where results are few, odd or of different searches."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from quintet.jobs.conspec import analyse
from quintet.jobs.conspec.config import Config, Environment
from quintet.jobs.conspec.metrics import COST, METRICS, N_BLOCKS
from quintet.jobs.conspec.worlds import DELAYED_EVENTS, GRID_EVENTS, WORLDS
from quintet.merge.conspec import analyse as analyse_tool
from quintet.merge.conspec.rendering import left_out
from quintet.merge.conspec.report import CAPTIONS, Material, best_section, left_out_line
from quintet.merge.conspec.run_figures import draw_ablation, draw_curves, draw_prototypes, event_columns
from quintet.merge.conspec.search_figures import draw_parallel
from quintet.merge.conspec.space import guessed_scales
from quintet.merge.conspec.stored import Study, Trials
from quintet.shard.commands.base import run_command
from quintet.shard.conspec import ablation_trials
from quintet.shard.conspec.advice import slow_advice

OF_PARAMETERS = {"hyperparameter_impact", "parallel_coordinates"}
OF_RECORDS = {"reward_distributions", "best_configs_comparison", *OF_PARAMETERS}


def record(trial: int, reward: float, **hyperparameters: Any) -> dict[str, Any]:
    results = {"mean_reward": reward, "success_rate": 0.4, "max_reward": 2.0}
    return {"environment": "single", "trial": trial, "hyperparameters": hyperparameters, "results": results}


def analysed(folder: Path, records: list[dict[str, Any]]) -> tuple[int, set[str], str]:
    """Return the exit code of `analyse` on some records, the names of its figures, and its report."""
    (folder / "search_single_20250101_000000.json").write_text(json.dumps(records))
    with pytest.raises(SystemExit) as ended:
        run_command(analyse_tool.command, ["--results-dir", str(folder), "--output", str(folder / "r.md")], "analyse")
    return (
        int(ended.value.code or 0),
        {p.stem for p in (folder / "figures").glob("*.png")},
        (folder / "r.md").read_text(),
    )


def trials(numbers: list[int], counts: list[np.ndarray], active: list[int], world: int | None = None) -> Trials:
    """Return trials of one prototype each whose numbers do not matter."""
    n = len(numbers)
    return Trials(
        np.array(numbers, np.int64),
        np.zeros(n, bool),
        np.arange(n, dtype=float),
        [{"gamma": 0.9} for _ in numbers],
        [""] * n,
        {name: np.full(n, 0.5) for name in METRICS},
        {name: np.ones(n) for name in COST},
        {"reward": np.zeros((n, N_BLOCKS))},
        np.ones((n, N_BLOCKS), np.int64),
        [np.array([episode], np.int32) for episode in active],
        counts,
        np.zeros(n, np.int64),
        None if world is None else np.full(n, world, np.uint8),
    )


def panels(drawn: Figure) -> list[str]:
    return [axes.get_title().partition(",")[0].partition(":")[0] for axes in drawn.axes]


@pytest.mark.parametrize("rewards", [(1.6, math.nextafter(1.6, 2.0)), (0.5, math.nan, 1.0), (math.nan, math.nan)])
def test_rewards_that_are_nearly_equal_or_no_numbers_are_analysed(tmp_path: Path, rewards: tuple[float, ...]) -> None:
    records = [record(k, reward, gamma=0.9 + k / 100) for k, reward in enumerate(rewards)]
    found = analyse(records)["single"]
    assert sum(found["histogram20"]["counts"]) == np.isfinite(rewards).sum()
    assert (np.diff(found["histogram20"]["edges"]) > 0).all()
    code, figures, _ = analysed(tmp_path, records)
    assert code == 0 and figures == OF_RECORDS


def test_nearly_equal_rewards_stand_in_the_middle_and_ranks_need_numbers() -> None:
    found = analyse([record(0, 1.0, gamma=0.9), record(1, math.nextafter(1.0, 2.0), gamma=0.8)])["single"]
    edges = found["histogram20"]["edges"]
    assert (edges[0], edges[-1]) == pytest.approx((0.5, 1.5))
    odd = analyse([record(0, 1.0, gamma=0.9), record(1, math.nan, gamma=0.8)])["single"]
    assert odd["pearson"] == odd["spearman"] == {"gamma": None}


def test_trials_of_searches_with_different_parameters_are_drawn_together(tmp_path: Path) -> None:
    records = [record(k, k / 4, learning_rate=0.001 * (k + 1), gamma=(0.9, 0.99)[k % 2]) for k in range(4)]
    records += [record(4 + k, k / 4, gamma=0.9, clip=0.1 * (k + 1), intrinsic_mode="peaks") for k in range(4)]
    code, figures, text = analysed(tmp_path, records)
    assert code == 0 and figures == OF_RECORDS and "Left out" not in text
    axes = draw_parallel(records, guessed_scales(records), "mean_reward", "maximize").axes[0]
    heights = np.array([line.get_ydata() for line in axes.lines[: len(records)]], float)
    assert np.isnan(heights).sum(axis=0).tolist() == [4, 0, 4, 4, 0]


def test_figures_of_parameters_are_left_out_where_nothing_varies(tmp_path: Path) -> None:
    code, figures, text = analysed(tmp_path, [record(k, k / 4, gamma=0.9) for k in range(3)])
    assert code == 0 and figures == OF_RECORDS - OF_PARAMETERS
    assert "Left out: `hyperparameter_impact` and `parallel_coordinates` (every parameter is fixed)." in text


def test_the_best_configuration_names_all_nine_parameters() -> None:
    records = [record(0, 1.0, learning_rate=0.002, clip=0.1)]
    text = best_section(Material(records, analyse(records), "mean_reward", "maximize")).text
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    assert rows[:2] == [["learning_rate", "0.002"], ["clip", "0.1"]]
    assert len(rows) == 10 and ["gamma", "0.98 (default)"] in rows and ["memory_size", "5000 (default)"] in rows


@pytest.mark.parametrize(
    ("family", "world", "kinds"),
    [
        ("grid", "single", ["blue key", "blue door", "final goal"]),
        ("grid", "double", ["green key", "blue key", "green door", "blue door", "final goal"]),
        (
            "grid",
            "triple",
            ["green key", "blue key", "purple key", "green door", "purple door", "green goal", "final goal"],
        ),
        ("delayed", "single", ["key of phase 0", "reward"]),
        ("delayed", "quad", ["key of phase 0", "key of phase 2", "key of phase 4", "key of phase 6", "reward"]),
    ],
)
def test_a_worlds_columns_are_the_events_that_it_has(family: str, world: str, kinds: list[str]) -> None:
    names = [*(GRID_EVENTS if family == "grid" else DELAYED_EVENTS), "none"]
    columns = event_columns(Environment(family=family), world)  # type: ignore[arg-type]
    assert [names[column] for column in columns] == [*kinds, "none"]


def test_figures_of_a_run_hold_the_worlds_that_have_data() -> None:
    config = Config(environments=["single", "double", "triple"])
    none, some = np.zeros((1, 9), np.int64), np.eye(1, 9, 1, dtype=np.int64)
    searches = {
        "single": trials([0, 1], [none, none], [-1, 7]),
        "double": trials([0, 1], [none, some], [-1, 7]),
        "triple": trials([], [], []),
    }
    study = Study(config, searches, trials([1], [none], [-1], WORLDS.index("single")))
    assert left_out(study) == {}
    assert panels(draw_curves(study)) == ["Single", "Double"]
    prototypes = draw_prototypes(study)
    assert panels(prototypes) == ["Double"]
    assert [label.get_text() for label in prototypes.axes[0].get_xticklabels()][-1] == "none"
    assert len(prototypes.axes[0].get_xticks()) == 6
    assert panels(draw_ablation(study)) == ["Single", "Single"]

    fixed = Config(hyperparameters={"gamma": {"type": "fixed", "value": 0.9}})
    reasons = left_out(Study(fixed, {"single": searches["single"]}, None))
    assert set(reasons) == {*OF_PARAMETERS, "prototype_events", "ablation"}
    assert "`ablation` (no trial was trained again without ConSpec)" in left_out_line(reasons)
    empty = left_out(Study(config, {"triple": searches["triple"]}, None))
    assert set(empty) == CAPTIONS.keys() - {"environments"}


@pytest.mark.parametrize(
    ("sections", "count"),
    [
        ({}, 5),
        ({"agent": {"conspec": False}}, 0),
        ({"hyperparameters": {"conspec": {"type": "fixed", "value": False}}}, 0),
        ({"hyperparameters": {"conspec": {"type": "choice", "values": [False, True]}}}, 5),
    ],
)
def test_a_search_without_conspec_has_no_ablation(sections: dict[str, Any], count: int) -> None:
    assert ablation_trials(Config(**sections)) == count


def test_advice_on_slow_learning_names_what_the_search_has() -> None:
    assert all(
        word in slow_advice(True) for word in ("learning_rate", "intrinsic_reward_scale", "smaller epsilon_decay")
    )
    assert "intrinsic_reward_scale" not in slow_advice(False) and "learning_rate" in slow_advice(False)
