"""Learning curves of groups of trials: block statistics combined along the canonical tree, leaf i the i-th trial."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...jobs.conspec.search_space import Axis, read_space
from ...shard.conspec.rows import WELFORD_COLUMNS
from ...shard.tree import Reducer, combined_extrema

if TYPE_CHECKING:
    from ...jobs.conspec.config import Config

THIRDS = ("lower third", "middle third", "upper third")
Group = tuple[str, str, list[int]]
"""Parameter, value or third, and the positions of its trials; ("", "all trials", …) holds every trial."""


def groups_of(config: Config, parameters: Sequence[Mapping[str, Any]]) -> Iterator[Group]:
    """Yield all trials, then per parameter its values (choices) or the thirds of its range.

    Args:
        config: gives the space.
        parameters: of each COMPLETE trial, by number.
    """
    yield "", "all trials", list(range(len(parameters)))
    for axis in read_space(config.hyperparameters):
        if axis.kind == "fixed":
            continue
        if axis.values:
            for value in axis.values:
                yield axis.name, str(value), [k for k, chosen in enumerate(parameters) if chosen[axis.name] == value]
            continue
        edges = third_edges(axis)
        bins = [int(np.searchsorted(edges, float(chosen[axis.name]), side="right")) for chosen in parameters]
        for position, name in enumerate(THIRDS):
            yield axis.name, name, [k for k, found in enumerate(bins) if found == position]


def third_edges(axis: Axis) -> tuple[float, float]:
    """Return where a range's second and last third begin, on a log scale where the parameter has one."""
    low, high = float(axis.low), float(axis.high)
    if axis.log:
        low, high = math.log(low), math.log(high)
    edges = (low + (high - low) / 3, low + 2 * (high - low) / 3)
    return (math.exp(edges[0]), math.exp(edges[1])) if axis.log else edges


def combined(leaves: NDArray[np.float64], ends: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the root over leaves f8[n, column, 3, block] and the extrema over ends f8[n, column, 2, block]."""
    root = np.zeros(leaves.shape[1:])
    if not len(leaves):
        return root, np.broadcast_to(np.array([np.inf, -np.inf])[:, None], ends.shape[1:]).copy()
    tree, extremes = Reducer(), ends[0].swapaxes(0, 1)
    for leaf, triples in enumerate(leaves):
        tree.add(0, leaf, triples)
    for pair in ends[1:]:
        extremes = combined_extrema(extremes, pair.swapaxes(0, 1))
    found = tree.root(len(leaves))
    return (root if found is None else found), extremes.swapaxes(0, 1)


def group_curves(config: Config, file: Any) -> dict[str, NDArray[Any]]:
    """Return the merged curves of a search's result.

    Returns:
        `curves/groups` u1, JSON list of [parameter, value]; `curves/trials` i8[group]; `curves/moments`
        f8[group, column, 3, block], Welford triples over episodes; `curves/extrema` f8[group, column, 2, block];
        columns are reward, success, length.
    """
    complete = np.flatnonzero(file["rows/failed"][()] == 0)
    offsets, text = file["rows/parameters_offsets"][()], file["rows/parameters"][()].tobytes()
    parameters = [json.loads(text[offsets[row] : offsets[row + 1]]) for row in complete]

    def columns(parts: Sequence[str]) -> NDArray[np.float64]:
        stacked = [
            [file[f"rows/welford/{column}_{part}"][()][complete] for part in parts] for column in WELFORD_COLUMNS
        ]
        return np.array(stacked, np.float64).transpose(2, 0, 1, 3)  # [trial, column, part, block]

    leaves, ends = columns(("count", "mean", "m2")), columns(("min", "max"))
    groups = list(groups_of(config, parameters))
    pairs = [combined(leaves[members], ends[members]) for _, _, members in groups]
    names = json.dumps([[parameter, value] for parameter, value, _ in groups]).encode()
    return {
        "curves/groups": np.frombuffer(names, "u1"),
        "curves/trials": np.array([len(members) for _, _, members in groups], "i8"),
        "curves/moments": np.stack([moments for moments, _ in pairs]),
        "curves/extrema": np.stack([extremes for _, extremes in pairs]),
    }
