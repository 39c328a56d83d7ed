"""Information, statistics, predictability and aggregation give the exact values."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quintet.jobs.synergy import (
    Split,
    aggregate,
    condition_id,
    condition_key,
    information,
    predictability,
    statistics,
    xor_target,
)
from quintet.jobs.synergy.comparisons import comparisons, learned_intervals, reference_scale
from quintet.jobs.synergy.prior import CONTRADICTS, SUPPORTS, UNDECIDED, synergy_prior

from .samples import assert_close, golden, plain

STATISTICS = golden("statistics")


def test_summaries_are_the_exact_ones() -> None:
    for case in STATISTICS["aggregate"]:
        found = statistics.summarise([plain(value) for value in case["values"]], case["confidence"])
        if case["expected"] is None:
            assert found is None
            continue
        expected = {key: value for key, value in case["expected"].items() if key not in ("m2", "t_critical")}
        assert found is not None and set(found) == set(expected)
        assert_close(found, expected, 1e-9)
    for df, quantile in STATISTICS["t_critical_95"].items():
        assert statistics.t_quantile(0.975, int(df)) == pytest.approx(quantile, rel=1e-9)


def test_curves_are_the_exact_ones() -> None:
    for case in STATISTICS["curves"]:
        assert_close(statistics.summarise_curves(case["series"]), case["expected"], 1e-9)


def test_missing_epochs_of_a_curve_are_filled_forward_and_not_counted() -> None:
    found = statistics.summarise_curves([[math.nan, 2.0, math.nan, 4.0], [], [None]])
    assert found["mean"] == [None, 2.0, 2.0, 4.0]
    assert found["n_observed"] == [0, 1, 0, 1] and found["n_runs"] == 1


def test_moments_combine_to_those_of_all_values() -> None:
    for case in STATISTICS["chan"]:
        edges = [0, *case["cuts"], len(case["values"])]
        parts = [statistics.moments(case["values"][a:b]) for a, b in itertools.pairwise(edges)]
        assert_close(parts, case["partials"], 1e-9)
        total = statistics.moments([])
        assert total["n"] == 0
        for part in parts:
            total = statistics.combine(total, part)
        expected = {key: case["expected"][key] for key in ("n", "mean", "m2", "min", "max")}
        assert_close(total, expected, 1e-9)


def test_comparisons_are_the_exact_ones() -> None:
    for case in STATISTICS["tests"]:
        found = statistics.compare(dict(enumerate(case["a"])), dict(enumerate(case["b"])))
        assert found is not None
        assert_close(found["welch"], case["welch"], 1e-9)
        assert_close(found["paired"], case["paired"], 1e-9)
    case = STATISTICS["multiplicity"]
    assert_close(statistics.adjust(case["p"]), {key: case[key] for key in ("bonferroni", "holm")}, 1e-9)
    for case in STATISTICS["wilson"]:
        assert_close(statistics.wilson(case["k"], case["n"]), {key: case[key] for key in ("p", "lo", "hi")}, 1e-9)


def test_undefined_comparisons_are_null_and_not_counted() -> None:
    assert statistics.compare({0: 1.0}, {0: 1.0, 1: 2.0}) is None
    constant = statistics.compare({0: 1.0, 1: 1.0}, {0: 2.0, 1: 2.0})
    assert constant is not None
    assert constant["welch"]["p"] is None and constant["paired"]["p"] is None
    assert constant["paired"]["p_sign_flip_exact"] == 0.5
    apart = statistics.compare({0: 1.0, 1: 2.0}, {2: 1.0, 3: 2.5})
    assert apart is not None and apart["paired"] is None and apart["welch"]["p"] is not None
    assert statistics.adjust([0.02, None, 0.03]) == {"bonferroni": [0.04, None, 0.06], "holm": [0.04, None, 0.04]}


def test_many_pairs_use_the_signed_rank_test() -> None:
    generator = np.random.default_rng(0)
    a, b = (dict(enumerate(generator.random(13).tolist())) for _ in range(2))
    found = statistics.compare(a, b)
    assert found is not None and 0.0 < found["paired"]["p_wilcoxon"] <= 1.0
    assert "p_sign_flip_exact" not in found["paired"]


def test_information_of_confusions_is_exact() -> None:
    expected = golden("information")
    for case in expected["confusion"]:
        assert_close(information.confusion_information(case["confusion_rows_true"]), case["expected"], 1e-9)
    for case in expected["symmetric_channel"]:
        p = case["p"]
        joint = np.where(np.eye(8, dtype=bool), p, (1 - p) / 7) / 8
        assert information.mutual_information(joint) == pytest.approx(case["bits"], abs=1e-12)


def test_decompositions_are_exact() -> None:
    for case in golden("pid_exact"):
        sizes, bins = case["n_sizes"], case["n_bins"]
        grid = xor_target(
            np.repeat(np.arange(sizes), bins),
            np.tile((np.arange(bins) + 0.5) / bins, sizes),
            n_bins=bins,
            min_scale=0,
            max_scale=sizes - 1,
        )
        joint = np.zeros((sizes, bins, bins))
        joint[np.repeat(np.arange(sizes), bins), grid.u_bin, grid.xor_bin] = 1.0 / (sizes * bins)
        found = information.pid(joint)
        assert_close(found, {key: case[key] for key in found}, 1e-9)
    for case in golden("information")["pid_of_outputs"]:
        if not case["name"].startswith("decoder output as a symmetric noisy copy of the XOR"):
            continue
        p = case["p_correct"]
        joint = np.full((8, 8, 8), (1 - p) / 7 / 64)
        for size in range(8):
            for u in range(8):
                joint[size, u, (size + u) % 8] = p / 64
        found = information.pid(joint)
        assert_close(found, {key: case[key] for key in found}, 1e-9)


@pytest.mark.parametrize("joint", [np.ones((2, 2)), np.ones((2, 2, 2)), -np.ones((2, 2, 2))])
def test_what_is_no_distribution_is_refused(joint: np.ndarray) -> None:
    with pytest.raises(ValueError):
        information.pid(joint)


@pytest.mark.parametrize(("dtype", "rel"), [("f8", 1e-9), ("f4", 1e-5)])
def test_predictability_is_exact(dtype: str, rel: float) -> None:
    for case in golden("predictability"):
        split = Split(
            np.array(case["attr_target"], dtype), np.array(case["v_target"], dtype), np.array(case["y"], "u1")
        )
        decoded = (np.array(case["decoded_attr"], dtype), np.array(case["decoded_v"], dtype))
        chosen = {key: case[key] for key in ("unique_indices", "redundant_indices")}
        found = predictability(*decoded, split, **chosen)
        assert set(found) == set(case["expected"])
        assert_close(found, case["expected"], rel)
        order = np.random.default_rng(1).permutation(len(split))
        shuffled = Split(split.attr[order], split.v[order], split.xor_bin[order])
        again = predictability(decoded[0][order], decoded[1][order], shuffled, **chosen)
        assert_close(again, found, 1e-12)


def test_predictability_defaults_are_u_and_size_against_the_rest() -> None:
    case = golden("predictability")[0]
    split = Split(np.array(case["attr_target"]), np.array(case["v_target"]), np.array(case["y"]))
    assert_close(
        predictability(np.array(case["decoded_attr"]), np.array(case["decoded_v"]), split), case["expected"], 1e-9
    )
    with pytest.raises(ValueError, match=r"unique_indices\.attr: 11"):
        predictability(
            np.array(case["decoded_attr"]), np.array(case["decoded_v"]), split, unique_indices={"attr": [11]}
        )
    wrong = Split(split.attr, split.v, np.full(len(split), 8))
    with pytest.raises(ValueError, match="xor_bin"):
        predictability(np.array(case["decoded_attr"]), np.array(case["decoded_v"]), wrong)


def records() -> list[dict[str, Any]]:
    return [
        {
            **{key: run[key] for key in ("workspace_dim", "synergy_scale", "run_id", "seed")},
            "status": "done",
            **{name: plain(value) for name, value in run["metrics"].items()},
        }
        for run in golden("aggregated_example")["runs"]
    ]


def test_aggregation_is_the_expected_object_and_strict_json() -> None:
    case = golden("aggregated_example")
    failed = {"workspace_dim": 99, "synergy_scale": 1.0, "run_id": 0, "seed": 42, "status": "failed", "loss": 1.0}
    found = aggregate([*reversed(records()), failed])
    expected = case["expected_aggregated_without_individual_results"]
    assert list(found) == list(expected)
    for key, entry in expected.items():
        assert set(found[key]["aggregated_metrics"]) == set(entry["aggregated_metrics"])
        assert [run["run_id"] for run in found[key]["individual_results"]] == sorted(
            run["run_id"] for run in case["runs"] if condition_key(run["workspace_dim"], run["synergy_scale"]) == key
        )
    assert_close(found, expected, 1e-12)
    json.dumps(found, allow_nan=False)
    ids = [condition_id(run["workspace_dim"], run["synergy_scale"], run["run_id"]) for run in case["runs"]]
    assert ids == case["condition_ids"]


def test_the_flat_table_of_the_users_snippet_comes_out() -> None:
    case = golden("aggregated_example")
    rows = []
    for entry in aggregate(records()).values():
        row = {"workspace_dim": entry["workspace_dim"], "synergy_scale": entry["synergy_scale"]}
        row["n_runs"] = entry["n_runs"]
        for metric, stats in entry["aggregated_metrics"].items():
            for key in ("mean", "std", "ci_lower", "ci_upper"):
                row[f"{metric}_{key}"] = stats[key]
        rows.append(row)
    assert_close(rows, case["expected_flat_table"], 1e-12)


def test_the_users_pandas_snippet_runs_on_the_written_file(tmp_path: Path) -> None:
    path = tmp_path / "aggregated_results.json"
    path.write_text(json.dumps(aggregate(records()), allow_nan=False))

    with path.open() as f:
        results = json.load(f)
    data = []
    for key, result in results.items():
        row = {
            "workspace_dim": result["workspace_dim"],
            "synergy_scale": result["synergy_scale"],
            "n_runs": result["n_runs"],
        }
        for metric_name, stats in result["aggregated_metrics"].items():
            row[f"{metric_name}_mean"] = stats["mean"]
            row[f"{metric_name}_std"] = stats["std"]
            row[f"{metric_name}_ci_lower"] = stats["ci_lower"]
            row[f"{metric_name}_ci_upper"] = stats["ci_upper"]
        data.append(row)
        assert key.startswith("dim_")
    df = pd.DataFrame(data)
    expected = pd.DataFrame(golden("aggregated_example")["expected_flat_table"])
    pd.testing.assert_frame_equal(df, expected, check_exact=False, rtol=1e-12, check_like=True)


def test_a_metric_without_any_number_and_a_condition_without_success_are_absent() -> None:
    kept = {"workspace_dim": 8, "synergy_scale": 1.0, "run_id": 0, "seed": 42, "status": "done"}
    found = aggregate([{**kept, "loss": math.nan, "acc": "0.5"}, {**kept, "workspace_dim": 4, "status": "failed"}])
    assert list(found) == ["dim_8_scale_1.0"] and list(found["dim_8_scale_1.0"]["aggregated_metrics"]) == ["acc"]
    assert found["dim_8_scale_1.0"]["individual_results"][0]["loss"] is None
    without_run = {key: value for key, value in kept.items() if key not in ("run_id", "seed")}
    assert aggregate([without_run])["dim_8_scale_1.0"]["n_runs"] == 1
    assert aggregate([]) == {}


def test_a_summary_that_overflows_is_strict_json() -> None:
    kept = {"workspace_dim": 8, "synergy_scale": 1.0, "status": "done"}
    found = aggregate([{**kept, "run_id": run, "loss": value} for run, value in enumerate((1e200, -1e200))])
    json.dumps(found, allow_nan=False)
    summary = found["dim_8_scale_1.0"]["aggregated_metrics"]["loss"]
    assert summary["std"] is None and summary["mean"] == 0.0 and summary["n"] == 2


def test_cost_stays_out_of_the_metrics() -> None:
    found = aggregate([{**record, "cpu_seconds": 1.0, "steps": 5} for record in records()])
    for entry in found.values():
        assert set(entry["aggregated_cost"]) == {"cpu_seconds", "steps"}
        assert "cpu_seconds" not in entry["aggregated_metrics"]


def test_another_run_leaves_other_conditions_alone() -> None:
    more = {**records()[0], "run_id": 9, "seed": 51}
    before, after = aggregate(records()), aggregate([*records(), more])
    changed = condition_key(more["workspace_dim"], more["synergy_scale"])
    assert {key for key in after if json.dumps(after[key]) != json.dumps(before[key])} == {changed}


def test_condition_names_do_not_collide() -> None:
    assert condition_key(8, 1) == "dim_8_scale_1.0"
    assert condition_key(8, 0.25) == "dim_8_scale_0.25" and condition_key(8, 0.2) == "dim_8_scale_0.2"
    assert condition_id(12, 0.04, 3) == "dim_12_scale_0.04_run_3"


def sweep(slopes: dict[str, float]) -> list[dict[str, Any]]:
    generator = np.random.default_rng(2)
    names = {
        "synergy": "predictability/synergy_norm_ce",
        "unique": "predictability/unique_r2",
        "redundant": "predictability/redundant_r2",
    }
    return [
        {
            "workspace_dim": dim,
            "synergy_scale": scale,
            "run_id": run,
            "status": "done",
            "learned": float(dim > 2),
            **{
                name: 0.9 + slopes[measure] * (math.log2(dim) - 5) + 1e-4 * generator.standard_normal()
                for measure, name in names.items()
            },
        }
        for dim in (2, 8, 32)
        for scale in (0.5, 1.0)
        for run in range(4)
    ]


@pytest.mark.parametrize(("synergy", "redundant", "verdict"), [(0.02, 0.1, SUPPORTS), (0.1, 0.02, CONTRADICTS)])
def test_verdict_of_the_synergy_prior(synergy: float, redundant: float, verdict: str) -> None:
    found = synergy_prior(sweep({"synergy": synergy, "unique": 0.05, "redundant": redundant}))
    assert [row["verdict"] for row in found["verdicts"]] == [verdict, verdict]
    slopes = [row["slope_synergy"] for row in found["runs"]]
    assert len(slopes) == 8 and slopes == pytest.approx([synergy] * 8, abs=1e-3)
    largest = [row for row in found["retention"] if row["workspace_dim"] == 32]
    assert all(row["mean"] == 1.0 for row in largest)


def test_one_run_or_one_dim_is_undecided() -> None:
    flat = sweep({"synergy": 0.1, "unique": 0.1, "redundant": 0.0})
    for kept in ([row for row in flat if row["run_id"] == 0], [row for row in flat if row["workspace_dim"] == 8]):
        assert {row["verdict"] for row in synergy_prior(kept)["verdicts"]} == {UNDECIDED}


def test_families_compare_with_their_reference_levels() -> None:
    assert reference_scale([0.1, 1.0, 10.0]) == 1.0 and reference_scale([0.1, 0.5, 2.0, 5.0]) == 0.5
    rows = comparisons(sweep({"synergy": 0.1, "unique": 0.1, "redundant": 0.0}), "predictability/unique_r2")
    families = {family: [row for row in rows if row["family"] == family] for family in ("scale", "dimension")}
    assert len(families["scale"]) == 3 and len(families["dimension"]) == 4
    assert all(row["reference"] == 32 for row in families["dimension"])
    for row in families["dimension"]:
        assert row["welch_p_bonferroni"] == pytest.approx(min(1.0, 4 * row["welch_p"]))
        assert row["welch_p_holm"] <= row["welch_p_bonferroni"]
    learned = learned_intervals(sweep({"synergy": 0.1, "unique": 0.1, "redundant": 0.0}))
    assert learned[0]["learned"] == 0 and learned[-1]["p"] == 1.0


def test_statistics_load_neither_torch_nor_compiler() -> None:
    program = (
        "import sys, quintet.jobs.synergy as s; s.aggregate; s.statistics; s.information; s.make_labels; "
        "s.xor_target; s.condition_key; s.predictability; "
        "print(sorted({'torch', 'numba', 'matplotlib', 'pydantic'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "[]"
