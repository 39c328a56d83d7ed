"""Comparisons between conditions, in two families per metric, with p values corrected within each family.

Scale: for each dim, every other scale against the reference scale (1.0 if there, else the lower median). Dimension:
for each scale, every other dim against the largest. Differences are level - reference. Bonferroni's and Holm's
corrections run over a whole family, for each of the three tests by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .statistics import adjust, compare, number, wilson
from .summary import by_condition

Values = dict[tuple[int, float], dict[int, float]]
"""Values of one metric by condition (dim, scale) and run."""

LEARNED_SHARE = 0.5
TESTS = ("welch", "paired", "paired_exact")


def values_of(records: Iterable[Mapping[str, Any]], metric: str) -> Values:
    """Return one metric of the successful records; what is no finite number is left out."""
    result: Values = {}
    for key, found in by_condition(records).items():
        numbers = {int(record["run_id"]): number(record.get(metric)) for record in found}
        result[key] = {run: value for run, value in numbers.items() if value is not None}
    return result


def reference_scale(scales: Iterable[float]) -> float:
    """Return 1.0 if it is among the scales, else their lower median."""
    levels = sorted(set(scales))
    return 1.0 if 1.0 in levels else levels[(len(levels) - 1) // 2]


def pairs_of(values: Values) -> dict[str, list[tuple[tuple[int, float], tuple[int, float]]]]:
    """Return the comparisons (level, reference) of each family."""
    if not values:
        return {"scale": [], "dimension": []}
    dims, scales = sorted({dim for dim, _ in values}), sorted({scale for _, scale in values})
    reference, largest = reference_scale(scales), dims[-1]
    return {
        "scale": [((dim, scale), (dim, reference)) for dim in dims for scale in scales if scale != reference],
        "dimension": [((dim, scale), (largest, scale)) for scale in scales for dim in dims if dim != largest],
    }


def comparisons(records: Iterable[Mapping[str, Any]], metric: str, confidence: float = 0.95) -> list[dict[str, Any]]:
    """Return the rows of both families of one metric; a pair in which an arm has fewer than two values has none.

    A row holds metric, family, workspace_dim, synergy_scale, the reference level of its family, n and n_reference,
    what `statistics.compare` gives (welch_..., paired_...), and for each test its Bonferroni and Holm p value.
    """
    values = values_of(records, metric)
    rows: list[dict[str, Any]] = []
    for family, pairs in pairs_of(values).items():
        found = []
        for level, reference in pairs:
            a, b = values.get(level, {}), values.get(reference, {})
            tests = compare(a, b, confidence)
            if tests is not None:
                found.append(row_of(metric, family, level, reference, a, b, tests))
        for test in TESTS:
            adjusted = adjust([row[f"{test}_p"] for row in found])
            for row, bonferroni, holm in zip(found, adjusted["bonferroni"], adjusted["holm"], strict=True):
                row[f"{test}_p_bonferroni"], row[f"{test}_p_holm"] = bonferroni, holm
        rows.extend(found)
    return rows


def row_of(
    metric: str,
    family: str,
    level: tuple[int, float],
    reference: tuple[int, float],
    a: Mapping[int, float],
    b: Mapping[int, float],
    tests: Mapping[str, Any],
) -> dict[str, Any]:
    """Return one comparison as a flat row, without corrections."""
    pair = tests["paired"] or {}
    exact = "p_wilcoxon" if "p_wilcoxon" in pair else "p_sign_flip_exact"
    return {
        "metric": metric,
        "family": family,
        "workspace_dim": level[0],
        "synergy_scale": level[1],
        "reference": reference[1] if family == "scale" else reference[0],
        "n": len(a),
        "n_reference": len(b),
        **{f"welch_{key}": tests["welch"][key] for key in ("mean_diff", "t", "df", "p")},
        "n_pairs": len(set(a) & set(b)),
        **{f"paired_{key}": pair.get(key) for key in ("mean_diff", "ci_lower", "ci_upper", "t", "df", "p")},
        "paired_exact_test": exact.removeprefix("p_") if pair else None,
        "paired_exact_p": pair.get(exact),
    }


def learned_intervals(records: Iterable[Mapping[str, Any]], confidence: float = 0.95) -> list[dict[str, Any]]:
    """Return per condition the share of runs that learned, with its Wilson interval."""
    rows = []
    for (dim, scale), values in values_of(records, "learned").items():
        k = sum(value >= LEARNED_SHARE for value in values.values())
        share = wilson(k, len(values), confidence)
        rows.append({"workspace_dim": dim, "synergy_scale": scale, "learned": k, "n": len(values), **share})
    return rows
