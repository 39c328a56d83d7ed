"""The aggregated curves equal those that the reference implementation computed from the same clients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quintet.jobs.complementarity.accumulators import unit_payload
from quintet.jobs.complementarity.aggregate import Aggregate
from quintet.jobs.complementarity.layout import AxisName, Layout
from quintet.jobs.complementarity.params import Params
from quintet.jobs.complementarity.simulation import CATEGORIES, simulate_pairs

GOLDEN = Path(__file__).parents[1] / "golden" / "complementarity"
GROUP_OF = {"v2_advantage": "v2_adv", "baseline_advantage": "baseline_adv"}
DECIMALS = 13


def aggregate_of(configs: Sequence[dict[str, Any]], seeds: range, n_bins: int, window_size: int) -> Aggregate:
    """Simulate every config on the seeds in units of 700 seeds, seed blocks outermost, and fold the units."""
    block = 700
    layout = Layout(n_bins, window_size, max(config["max_sessions"] for config in configs), block)
    units = []
    for first in range(seeds.start, seeds.stop, block):
        for config in configs:
            params = Params(**config["params"] | {"max_sessions": config["max_sessions"]})
            some = range(first, min(first + block, seeds.stop))
            batch = simulate_pairs(params, some, trajectories=True)
            numbers = {key: config[key] for key in ("config_idx", "trial_number")}
            units.append(unit_payload(batch, layout, **numbers))
    rows = {name: np.concatenate([unit[name] for unit in units]) for name in units[0]}
    return Aggregate.from_rows(rows, configs, n_bins, window_size)


def assert_equals_golden(aggregate: Aggregate, golden: dict[str, Any]) -> None:
    """Compare every curve: counts exactly, means to 1e-12 and standard deviations to 1e-9, both relative."""
    axes: tuple[tuple[str, AxisName], ...] = (("session_axis", "session"), ("normalized_axis", "normalized"))
    for name, expected in golden.items():
        for key, axis in axes:
            band = aggregate.band(axis, GROUP_OF.get(name, name))
            curve = expected[key]
            assert len(band) == curve["length"], (name, axis)
            assert band.count.tolist() == curve["count"], (name, axis)
            means = np.array(curve["mean"], dtype=float)
            stds = np.array(curve["std"], dtype=float)
            rounding = 0.5 * 10.0**-DECIMALS * 1.01
            np.testing.assert_allclose(band.mean, means, rtol=1e-12, atol=rounding)
            np.testing.assert_allclose(band.std, stds, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def one_config() -> tuple[Aggregate, dict[str, Any]]:
    """Golden aggregates of config P3 over 2000 seeds, and ours."""
    golden = json.loads((GOLDEN / "aggregate_one_config.json").read_text())
    outcomes = json.loads((GOLDEN / "outcomes.json").read_text())
    config = {
        "config_idx": 0,
        "trial_number": 0,
        "advantage": float("nan"),
        "params": parameters_of(outcomes, golden["config"]),
        "max_sessions": golden["max_sessions"],
    }
    first, last = golden["seeds"]
    ours = aggregate_of([config], range(first, last + 1), golden["n_bins"], golden["window_size"])
    return ours, golden


def parameters_of(outcomes: dict[str, Any], name: str) -> dict[str, Any]:
    """Parameters of a named config in the golden outcomes."""
    return dict(outcomes[name]["params"])


def test_one_config_over_2000_seeds_equals_the_reference(one_config: tuple[Aggregate, dict[str, Any]]) -> None:
    """Four categories and the remaining ones, on both axes."""
    ours, golden = one_config
    sizes = {name: entry["n"] for name, entry in golden["aggregates"].items()}
    assert dict(zip(CATEGORIES, ours.totals.tolist(), strict=True)) == {name: sizes[name] for name in CATEGORIES}
    assert_equals_golden(ours, golden["aggregates"])


def test_four_selected_configs_with_horizons_of_their_own_equal_the_reference() -> None:
    """Configs of different length share the axes; categories hold exactly the golden seeds."""
    golden = json.loads((GOLDEN / "aggregate_end_to_end.json").read_text())
    trials = golden["study_trials_in_order"]
    configs = []
    for chosen, record in zip(golden["selected"], golden["per_config"], strict=True):
        params = trials[chosen["trial_number"]]["params"]
        configs.append({**chosen, "params": params, "max_sessions": record["max_sessions"]})
    seeds = range(golden["n_seeds"])
    ours = aggregate_of(configs, seeds, golden["n_bins"], golden["window_size"])
    assert dict(zip(CATEGORIES, ours.totals.tolist(), strict=True)) == golden["breakdown"]
    for config, record in zip(configs, golden["per_config"], strict=True):
        params = Params(**config["params"] | {"max_sessions": config["max_sessions"]})
        category = simulate_pairs(params, seeds).category
        for number, name in enumerate(CATEGORIES):
            assert np.flatnonzero(category == number).tolist() == record[name]
    assert_equals_golden(ours, golden["aggregates"])
