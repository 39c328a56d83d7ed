"""Inequality, polarization and the structure of the talk graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np


def gini(values: Iterable[float]) -> float:
    """Return the Gini coefficient `2 sum_i i x_(i) / (n sum x) - (n+1)/n`; 0 for nothing or a zero sum."""
    ordered = sorted(values)
    total = sum(ordered)
    n = len(ordered)
    if n == 0 or total == 0:
        return 0.0
    weighted = sum(rank * value for rank, value in enumerate(ordered, 1))
    return float(2.0 * weighted / (n * total) - (n + 1.0) / n)


def polarization(values: Iterable[float]) -> float:
    """Return the population variance; 0 for nothing."""
    numbers = list(values)
    if not numbers:
        return 0.0
    mean = sum(numbers) / len(numbers)
    return float(sum((number - mean) ** 2 for number in numbers) / len(numbers))


def entropy(counts: Iterable[int]) -> float:
    """Return the entropy in nats of a table of counts; 0 for nothing."""
    positive = [count for count in counts if count > 0]
    total = sum(positive)
    return -sum(count / total * math.log(count / total) for count in positive) if total else 0.0


Edges = Mapping[tuple[int, int], float]
"""Weights of an undirected graph by pair (low, high)."""


def _degrees(edges: Edges) -> dict[int, float]:
    degrees: dict[int, float] = {}
    for (a, b), weight in edges.items():
        degrees[a] = degrees.get(a, 0.0) + weight
        degrees[b] = degrees.get(b, 0.0) + weight
    return degrees


def modularity(edges: Edges) -> float:
    """Return the modularity of greedily merged communities; 0 for fewer than two edges.

    Source: Clauset, Newman and Moore 2004, "Finding community structure in very large networks", equations 8 to 10:
    the pair of communities with the largest gain is joined, the lowest numbers first among equals, while there is gain.
    """
    if len(edges) < 2:
        return 0.0
    total = sum(edges.values())
    share = {node: degree / (2.0 * total) for node, degree in _degrees(edges).items()}
    between: dict[int, dict[int, float]] = {node: {} for node in share}
    for (a, b), weight in edges.items():
        if a != b:
            between[a][b] = between[b][a] = between[a].get(b, 0.0) + weight / (2.0 * total)
    inside = sum(weight for (a, b), weight in edges.items() if a == b) / total
    score = inside - sum(value * value for value in share.values())
    while True:
        best, pair = 1e-15, None
        for a in sorted(between):
            for b in sorted(between[a]):
                if a < b:
                    gain = 2.0 * (between[a][b] - share[a] * share[b])
                    if gain > best:
                        best, pair = gain, (a, b)
        if pair is None:
            return score
        a, b = pair
        score += best
        share[a] += share.pop(b)
        for other, weight in between.pop(b).items():
            del between[other][b]
            if other != a:
                between[a][other] = between[other][a] = between[a].get(other, 0.0) + weight


def degree_centrality(edges: Edges, n: int) -> tuple[float, float]:
    """Return the mean and the largest share of others that a resident talks with, over all `n` residents."""
    partners: dict[int, set[int]] = {}
    for a, b in edges:
        if a != b:
            partners.setdefault(a, set()).add(b)
            partners.setdefault(b, set()).add(a)
    if n < 2 or not partners:
        return 0.0, 0.0
    sizes = [len(others) / (n - 1) for others in partners.values()]
    return sum(sizes) / n, max(sizes)


def assortativity(edges: Edges, values: Sequence[float]) -> float:
    """Return Pearson's correlation of a value over both directions of every edge, by weight; NaN where constant."""
    if not edges:
        return math.nan
    a = np.array([pair[0] for pair in edges] + [pair[1] for pair in edges])
    b = np.array([pair[1] for pair in edges] + [pair[0] for pair in edges])
    weight = np.array(list(edges.values()) * 2, float)
    numbers = np.asarray(values, float)
    x, y = numbers[a], numbers[b]
    mean = np.average(x, weights=weight)
    variance = np.average((x - mean) ** 2, weights=weight)
    if variance < 1e-24:
        return math.nan
    return float(np.average((x - mean) * (y - mean), weights=weight) / variance)
