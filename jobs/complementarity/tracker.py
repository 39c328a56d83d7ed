"""The complementarity tracker: how complementary the therapist is in a sliding window of sessions.

For every session s = 1..L of a run the window holds the last min(s, window_size) pairs (client octant c,
therapist octant t), t either *enacted* by the therapist or *perceived* by the client, and

    distance_<perspective>          mean complementarity distance of t from K(c), 0 (complementary) .. 4
    rate_<perspective>              100 * share of pairs with t = K(c)
    ..._warm, ..._cold              the same over the pairs whose client octant is warm (WD, W, WS) or cold
                                    (CS, C, CD), NaN where the window holds none

Every value is a quotient of two small integers, so sums over runs can be kept exactly (see `accumulators`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .octants import COLD, COMPLEMENT, COMPLEMENTARITY_DISTANCE, WARM

Perspective = Literal["enacted", "perceived"]


@dataclass(frozen=True)
class Metric:
    """One quantity of the tracker: the mean of integers `values[c, t]` over pairs with c in `clients`."""

    name: str
    perspective: Perspective
    values: NDArray[np.uint8]
    clients: tuple[int, ...]
    factor: int

    @property
    def largest(self) -> int:
        """Largest integer value of one pair."""
        return int(self.values.max())

    @property
    def whole_window(self) -> bool:
        """Whether every pair of the window counts, so that the denominator depends on the session alone."""
        return len(self.clients) == 8


def _metrics() -> dict[str, Metric]:
    match = np.zeros((8, 8), dtype=np.uint8)
    match[np.arange(8), COMPLEMENT] = 1
    subsets: dict[str, tuple[int, ...]] = {"": tuple(range(8)), "_warm": WARM, "_cold": COLD}
    perspectives: tuple[Perspective, ...] = ("enacted", "perceived")
    return {
        metric.name: metric
        for quantity, values, factor in (("distance", COMPLEMENTARITY_DISTANCE, 1), ("rate", match, 100))
        for perspective in perspectives
        for subset, clients in subsets.items()
        for metric in (Metric(f"{quantity}_{perspective}{subset}", perspective, values, clients, factor),)
    }


METRICS: dict[str, Metric] = _metrics()
"""All metrics by name; `factor` turns the window's mean into the metric's unit (1, or 100 for percent)."""

MAIN_METRIC = "distance_enacted"
"""The metric of the study's main figure."""

SATISFACTION = ("rs_percentile", "bond_percentile")
"""Satisfaction and bond after each session, 0..100; no quotients of small integers (see `satisfaction`)."""


def windowed_fractions(
    metric: Metric, client: NDArray[np.uint8], therapist: NDArray[np.uint8], window_size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numerators and denominators of a metric along one run.

    Args:
        metric: what is averaged.
        client: client's octants, u1[L].
        therapist: therapist's octants in the metric's perspective, u1[L].
        window_size: sessions in the window, at least 1.

    Returns:
        i8[L] and i8[L]: the sum over the window's pairs that count, and how many count (0 where none does).
    """
    counts = np.isin(client, metric.clients)
    values = np.where(counts, metric.values[client, therapist].astype(np.int64), 0)
    end = np.arange(1, len(client) + 1)
    start = np.maximum(end - window_size, 0)
    sums = np.concatenate(([0], np.cumsum(values)))
    members = np.concatenate(([0], np.cumsum(counts)))
    return sums[end] - sums[start], members[end] - members[start]


def metric_trajectory(
    name: str, client: NDArray[np.uint8], therapist: NDArray[np.uint8], window_size: int
) -> NDArray[np.float64]:
    """Values of a metric along one run, one per executed session.

    Args:
        name: a key of `METRICS`.
        client: client's octants, u1[L].
        therapist: therapist's octants as enacted or as perceived, as the metric asks, u1[L].
        window_size: sessions in the window.

    Returns:
        float64[L]; distance in steps (0..4) or rate in percent; NaN where no pair of the window counts.

    Raises:
        KeyError: there is no such metric.
    """
    metric = METRICS[name]
    numerator, denominator = windowed_fractions(metric, client, therapist, window_size)
    values = np.full(len(client), np.nan)
    np.divide(numerator * metric.factor, denominator, out=values, where=denominator > 0)
    return values
