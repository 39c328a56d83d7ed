"""Many episodes at a time, played with the fitted policies: one exact step per configuration that is met."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import expansion
from ..kernel.backward import Rows
from ..levels import Values
from .configurations import Keys, root_key
from .stepping import Steps

Streams = Callable[[int], np.random.Generator]
"""The random numbers of level t."""


class Moment(NamedTuple):
    """Where n episodes are at one level.

    Attributes:
        t: the level.
        keys: u8 [n].
        met, row: the different configurations, sorted, and each episode's place among them.
        values: of `met`; None at the horizon.
    """

    t: int
    keys: Keys
    met: Keys
    row: NDArray[np.intp]
    values: Values | None


def drawn_columns(weights: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw one column for each row of weights [n, k]: the first whose cumulative weight exceeds the draw."""
    cumulative = np.cumsum(weights, axis=1)
    above = cumulative > (uniform * cumulative[:, -1])[:, None]
    found: NDArray[np.int64] = above.argmax(axis=1)
    return found


def mixed(policy: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return policies [n, k], each mixed with uniform actions at its rate [n]."""
    return (1.0 - noise)[:, None] * policy + (noise / policy.shape[1])[:, None]


def following(
    rows: Rows, keys: Keys, row: NDArray[np.intp], profile: NDArray[np.int64], uniform: NDArray[np.float64]
) -> Keys:
    """Return the successors' keys of episodes at these rows, given their profiles and a draw for chance each."""
    place = rows.succ[row, profile].astype(np.int64)
    for episode in np.flatnonzero(place < 0):
        k = -1 - int(place[episode]) - rows.first
        low, high = int(rows.exc_ptr[k] - rows.exc_ptr[0]), int(rows.exc_ptr[k + 1] - rows.exc_ptr[0])
        choice = drawn_columns(rows.exc_prob[None, low:high], uniform[episode : episode + 1])[0]
        place[episode] = rows.exc_succ[low + choice]
    return keys[place]


def episodes(
    steps: Steps, n: int, streams: Streams, noise: NDArray[np.float64], goal: tuple[int, int] | None = None
) -> Iterator[Moment]:
    """Play n episodes from the root; yield where they are at t = 0..T.

    Args:
        steps: exact steps on fitted values.
        n: how many.
        streams: random numbers of each level.
        noise: f8 [n], rate of uniform actions in each episode.
        goal: (h, g): human h follows pi_h(.|s, g), the others their marginals; None: all follow these.
    """
    world, packing = steps.world, steps.world.packing
    n_actions = world.n_actions
    keys = np.repeat(root_key(world), n)
    for t in range(steps.max_steps):
        met, row = np.unique(keys, return_inverse=True)
        values = steps.expand(t, met, keeps_pi_h=goal is not None)
        yield Moment(t, keys, met, row, values)
        uniform = streams(t).random((len(world.humans) + 2, n))
        profile = np.zeros(n, np.int64)
        for h, agent in enumerate(world.humans):
            policy = values.m_h[row, h] if goal is None or goal[0] != h else values.pi_h[row, h, goal[1]]
            profile += drawn_columns(mixed(policy, noise), uniform[h]) * n_actions**agent
        robot = drawn_columns(mixed(values.pi_r[row], noise), uniform[-2])
        for k, agent in enumerate(world.robots):
            profile += robot // n_actions ** (len(world.robots) - 1 - k) % n_actions * n_actions**agent
        found = expansion.expand(packing, met[:, None])
        keys = following(found.rows, found.keys[:, 0], row, profile, uniform[-1])
    met, row = np.unique(keys, return_inverse=True)
    yield Moment(steps.max_steps, keys, met, row, None)
