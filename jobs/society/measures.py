"""Metrics of a tick: behaviour, money, satisfaction, tokens and the talk graph."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

from .statistics import assortativity, degree_centrality, entropy, gini, modularity, polarization
from .traits import TRAITS
from .vocabulary import ARGUE, KIND_NAMES, KINDS, TALK
from .world import World

GRAPH_TICKS = 20
COOPERATIVE = frozenset(index for index, kind in enumerate(KINDS) if kind.cooperative)
COLLABORATIVE = frozenset(index for index, kind in enumerate(KINDS) if kind.collaborative)

GRAPH_METRICS = (
    "modularity",
    "degree_mean",
    "degree_max",
    *(f"assortativity_{trait}" for trait in TRAITS),
)
METRICS = (
    "n_actions",
    "n_messages",
    "tokens_in",
    "tokens_out",
    "success_rate",
    "action_entropy",
    "collaboration_ratio",
    "cooperation_rate",
    "conflicts",
    "gini_acting",
    "gini_all",
    "satisfaction_mean_acting",
    "satisfaction_variance_acting",
    "satisfaction_mean",
    "satisfaction_variance",
    "talk_edges",
    "plan_reuse_rate",
    "prompt_duplicates",
    "fluency",
    *(f"share_{name}" for name in KIND_NAMES),
    *(f"probe_{trait}" for trait in TRAITS),
    *(f"dose_{trait}" for trait in TRAITS),
    *GRAPH_METRICS,
)
INTEGER_METRICS = frozenset(("n_actions", "n_messages", "tokens_in", "tokens_out", "conflicts", "talk_edges"))


def tick_metrics(
    records: Sequence[Sequence[Any]],
    sizes: Sequence[int],
    crowd: Sequence[int],
    world: World,
    texts: Sequence[str],
) -> dict[str, float]:
    """Return the metrics of one tick from its action records.

    Args:
        records: rows of the action table.
        sizes: for each action, how many residents took part in its encounter.
        crowd: how many residents were in each place at the start of the tick.
        world: after the tick's actions and rewards.
        texts: utterance of each action.
    """
    n = len(records)
    counts = [0] * len(KINDS)
    successes = cooperative = collaborative = together = planned = tokens_in = tokens_out = edges = 0
    acting = []
    for record, size in zip(records, sizes, strict=True):
        kind, success = record[4], record[6] == 0
        counts[kind] += 1
        acting.append(record[3])
        successes += success
        cooperative += success and kind in COOPERATIVE
        if kind in COLLABORATIVE:
            collaborative += 1
            together += crowd[record[7]] > 1
        if kind == TALK:
            edges += size - 1
        tokens_in += record[9]
        tokens_out += record[10]
        planned += record[13]
    satisfaction = [world.satisfaction[resident] for resident in acting]
    everybody = len(world.satisfaction)
    values: dict[str, float] = {
        "n_actions": n,
        "n_messages": sum(1 for text in texts if text),
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "success_rate": successes / n if n else math.nan,
        "action_entropy": entropy(counts),
        "collaboration_ratio": together / collaborative if collaborative else math.nan,
        "cooperation_rate": cooperative / n if n else math.nan,
        "conflicts": counts[ARGUE],
        "gini_acting": gini(world.credits[resident] for resident in acting),
        "gini_all": gini(world.credits),
        "satisfaction_mean_acting": sum(satisfaction) / n if n else math.nan,
        "satisfaction_variance_acting": polarization(satisfaction),
        "satisfaction_mean": sum(world.satisfaction) / everybody,
        "satisfaction_variance": polarization(world.satisfaction),
        "talk_edges": edges,
        "plan_reuse_rate": 1.0 - planned / n if n else math.nan,
    }
    for index, count in enumerate(counts):
        values[f"share_{KIND_NAMES[index]}"] = count / n if n else math.nan
    return values


class TalkGraph:
    """Who talked with whom in the last 20 ticks."""

    def __init__(self) -> None:
        self.ticks: deque[list[tuple[int, int]]] = deque(maxlen=GRAPH_TICKS)

    def add(self, edges: list[tuple[int, int]]) -> None:
        """Append one tick's directed edges, one for each hearer of each talk."""
        self.ticks.append(edges)

    def weights(self) -> dict[tuple[int, int], float]:
        """Return the undirected graph, weighted by talks."""
        weights: dict[tuple[int, int], float] = {}
        for edges in self.ticks:
            for a, b in edges:
                pair = (a, b) if a < b else (b, a)
                weights[pair] = weights.get(pair, 0.0) + 1.0
        return weights

    def metrics(self, personas: Sequence[Sequence[float]]) -> dict[str, float]:
        """Return the graph metrics; `personas` holds each resident's coefficients in trait order."""
        weights = dict(sorted(self.weights().items()))
        mean, largest = degree_centrality(weights, len(personas))
        values = {"modularity": modularity(weights), "degree_mean": mean, "degree_max": largest}
        for index, trait in enumerate(TRAITS):
            values[f"assortativity_{trait}"] = assortativity(weights, [persona[index] for persona in personas])
        return values
