"""Rate and time left: units a second over the last ten minutes, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

WINDOW_S = 600.0
Z_90 = 1.2816  # standard normal quantile of 90 %


@dataclass(frozen=True)
class Span:
    """When an attempt worked (epoch seconds), the units it finished (None: it still works), its block seconds.

    `block_s` are the 10, 50 and 90 % quantiles of the seconds of its blocks.
    """

    start: float
    end: float
    units: int | None
    block_s: tuple[float, ...]


@dataclass(frozen=True)
class Estimate:
    """Units a second and the seconds left with their 10-90 % range; None where nothing is known.

    `planned` marks a rate that rests on the plan's estimate, because nothing has ended yet.
    """

    units_per_s: float | None = None
    seconds_left: float | None = None
    seconds_low: float | None = None
    seconds_high: float | None = None
    planned: bool = False


def quantile(ordered: Sequence[float], q: float) -> float:
    """Return a quantile of sorted values, linear between neighbours."""
    position = q * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def estimate(
    spans: Sequence[Span], remaining: int, block_size: int, planned: Mapping[str, Any], now: float
) -> Estimate:
    """Return rate and time left.

    What an ended attempt finished is spread evenly over its time.  One that still works is taken to be as fast as
    the others were, since it says what it did only at its end.
    """
    ended = [span for span in spans if span.units is not None]
    speeds = sorted(span.units / (span.end - span.start) for span in ended if span.units and span.end > span.start)
    speed = median(speeds) if speeds else 1.0 / max(float(planned.get("seconds_per_unit", 1.0)), 1e-9)
    since = now - WINDOW_S
    recent = [span for span in spans if span.end > since]
    if not recent:
        return Estimate(seconds_left=0.0 if remaining <= 0 else None)
    window = min(max(now - min(span.start for span in recent), 1e-3), WINDOW_S)
    done = sum(speed_of(span, speed) * (span.end - max(span.start, since)) for span in recent)
    rate = done / window
    if remaining <= 0 or rate <= 0:
        return Estimate(rate, 0.0 if remaining <= 0 else None)
    left = remaining / rate
    workers = max(sum(span.units is None for span in recent), 1)
    spread = Z_90 * relative_spread(ended, speeds, remaining / block_size / workers)
    return Estimate(rate, left, left / (1 + spread), left * (1 + spread), planned=not speeds)


def speed_of(span: Span, default: float) -> float:
    """Return the units a second of one attempt."""
    if span.units is None:
        return default
    return span.units / (span.end - span.start) if span.end > span.start else 0.0


def relative_spread(ended: Sequence[Span], speeds: Sequence[float], blocks_left: float) -> float:
    """Return the relative standard deviation of the time left.

    The times of single blocks average out over the blocks that one worker still has; differences between attempts
    (hosts, kinds of units) do not.
    """
    blocks = [(s[2] - s[0]) / (2 * Z_90 * s[1]) for s in (span.block_s for span in ended) if len(s) == 3 and s[1] > 0]
    single = median(blocks) / math.sqrt(max(blocks_left, 1.0)) if blocks else 0.0
    between = 0.0
    if len(speeds) >= 3:
        between = (quantile(speeds, 0.9) - quantile(speeds, 0.1)) / (2 * Z_90 * median(speeds))
    return math.hypot(single, between) if blocks or len(speeds) >= 3 else 0.5
