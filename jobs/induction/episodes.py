"""Rollouts: episodes played with the solved policies, exact in their use of random numbers.

Rollout i of seed s draws from Generator(PCG64(SeedSequence([s, i]))), one `random()` per draw, mapped to the first
index whose cumulative weight exceeds it: the humans' goals in index order, then per step the humans' actions in index
order, the robots' profile, and the chance outcome (always drawn).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .expansion import Keys
from .graph import StateGraph, attained_goals
from .kernel.backward import Rows
from .levels import Values, backward, entering_tables, model_at, model_of, terminal_tables
from .packing import AGENT_FIELDS, State
from .params import Params
from .solution import Solution
from .world import World

TOGGLE = 6


@dataclass(frozen=True)
class Rollout:
    """One episode.

    Attributes:
        goals: goal number of each human.
        states: the states at t = 0..T.
        profiles: joint action of each step, T numbers.
        attained: first step at which each human stood in its goal after a move (t >= 1), None if it never did.
    """

    goals: tuple[int, ...]
    states: tuple[State, ...]
    profiles: tuple[int, ...]
    attained: tuple[int | None, ...]


def drawn(uniform: float, weights: NDArray[np.float64]) -> int:
    """First index whose cumulative weight exceeds the draw; weights need not sum to 1."""
    cumulative = np.cumsum(weights)
    index = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    return min(index, int(np.flatnonzero(weights)[-1]))


def isolated_row(graph: StateGraph, row: int) -> tuple[Rows, NDArray[np.int64]]:
    """Return the transitions of one row into places of its own successors, and the rows of these in the graph."""
    _, rows = next(graph.transitions.pieces(row, row + 1, 1))
    succ = rows.succ[0]
    ptr, outcomes, probabilities = [0], [], []
    place = succ.copy()
    for k, profile in enumerate(np.flatnonzero(succ < 0)):
        e = -1 - int(succ[profile]) - rows.first
        low, high = (int(rows.exc_ptr[e + end] - rows.exc_ptr[0]) for end in (0, 1))
        outcomes.append(rows.exc_succ[low:high])
        probabilities.append(rows.exc_prob[low:high])
        ptr.append(ptr[-1] + high - low)
        place[profile] = -1 - k
    chance = np.concatenate([np.empty(0, np.int32), *outcomes])
    places = np.unique(np.concatenate([succ[succ >= 0], chance]))
    place[place >= 0] = np.searchsorted(places, place[place >= 0])
    return (
        Rows(
            place[None, :].astype(np.int32),
            0,
            np.array(ptr, np.int64),
            np.searchsorted(places, chance).astype(np.int32),
            np.concatenate([np.empty(0), *probabilities]),
        ),
        places.astype(np.int64),
    )


def state_values(graph: StateGraph, solution: Solution, t: int, row: int) -> Values:
    """Return values and policies of one state, pi_h for each goal included, from the values of level t + 1."""
    rows, places = isolated_row(graph, row)
    cells = graph.human_cell[places]
    if t + 1 == solution.max_steps:
        following = terminal_tables(cells, graph.attained, solution.params)
    else:
        low, high = int(places[0]), int(places[-1]) + 1
        Vm, Ve, Vr = (solution.level_rows(name, t + 1, low, high)[places - low] for name in ("Vm", "Ve", "Vr"))
        following = entering_tables(Vm, Ve, Vr, cells, graph.attained, solution.params)
    model = model_at(model_of(graph.world, solution.params), solution.max_steps - t)
    return backward(model, rows, following, graph.human_cell[row : row + 1], graph.attained, keeps_pi_h=True)


class Walk(Protocol):
    """Where an episode is, and what its state is worth; it begins in the initial state."""

    def values(self, t: int) -> Values:
        """Return values and policies of the state at level t, one row, pi_h for each goal included."""
        ...

    def move(self, profile: int, uniform: float) -> Keys:
        """Go on to the successor under a joint action, chance decided by the draw; return its key, u8 [w]."""
        ...


class GraphWalk:
    """A walk over the states of a solved graph."""

    def __init__(self, graph: StateGraph, solution: Solution) -> None:
        self._graph, self._solution, self._row = graph, solution, 0

    def values(self, t: int) -> Values:
        """Return values and policies of the state."""
        return state_values(self._graph, self._solution, t, self._row)

    def move(self, profile: int, uniform: float) -> Keys:
        """Go on; return the successor's key."""
        self._row = _successor(self._graph, self._row, profile, uniform)
        key: Keys = self._graph.keys[self._row]
        return key


def rollout(
    graph: StateGraph,
    solution: Solution,
    index: int,
    *,
    seed: int = 42,
    others_marginal: bool = False,
    human_always_toggles: bool = False,
) -> Rollout:
    """Play one episode.

    Args:
        graph, solution: the solved problem.
        index: number of the rollout.
        seed: seed of all rollouts.
        others_marginal: only human `index` mod H follows its goal, the others act from their marginal policies; its
            frequency of attaining goal g is then V^e where gamma_h = 1.
        human_always_toggles: humans always toggle (their actions are drawn all the same).

    Raises:
        ValueError: the policies were not kept, or the action set has no toggle.
    """
    solution.require_policies()
    return walked(
        GraphWalk(graph, solution),
        graph.world,
        solution.params,
        solution.max_steps,
        index,
        seed=seed,
        others_marginal=others_marginal,
        human_always_toggles=human_always_toggles,
    )


def walked(
    walk: Walk,
    world: World,
    params: Params,
    max_steps: int,
    index: int,
    *,
    seed: int,
    others_marginal: bool,
    human_always_toggles: bool,
) -> Rollout:
    """Play one episode of a walk; arguments and errors as `rollout`."""
    n_humans, n_actions, packing = len(world.humans), world.n_actions, world.packing
    if human_always_toggles and n_actions <= TOGGLE:
        raise ValueError("human_always_toggles needs the action set ObjectActions")
    draws = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
    weights = params.weights(len(world.goals), world.has_goal_list)
    goals = tuple(drawn(draws.random(), weights) for _ in range(n_humans))
    is_attained = attained_goals(world)
    attained: list[int | None] = [None] * n_humans
    states, profiles = [world.initial_state], []
    for t in range(max_steps):
        values = walk.values(t)
        actions = [0] * world.n_agents
        for h, agent in enumerate(world.humans):
            follows = not others_marginal or h == index % n_humans
            action = drawn(draws.random(), values.pi_h[0, h, goals[h]] if follows else values.m_h[0, h])
            actions[agent] = TOGGLE if human_always_toggles else action
        robot = drawn(draws.random(), values.pi_r[0])
        for k, agent in enumerate(world.robots):
            actions[agent] = robot // n_actions ** (len(world.robots) - 1 - k) % n_actions
        profile = sum(action * n_actions**agent for agent, action in enumerate(actions))
        key = walk.move(profile, draws.random())[None, :]
        profiles.append(profile)
        states.append(packing.state(t + 1, packing.vectors(key)[0]))
        for h, agent in enumerate(world.humans):
            if attained[h] is None and is_attained[int(packing.field(key, AGENT_FIELDS * agent)[0]), goals[h]]:
                attained[h] = t + 1
    return Rollout(goals, tuple(states), tuple(profiles), tuple(attained))


def _successor(graph: StateGraph, row: int, profile: int, uniform: float) -> int:
    rows, places = isolated_row(graph, row)
    place = int(rows.succ[0, profile])
    if place < 0:
        low, high = rows.exc_ptr[-1 - place], rows.exc_ptr[-place]
        place = int(rows.exc_succ[low + drawn(uniform, rows.exc_prob[low:high])])
    return int(places[place])


def rollouts(
    graph: StateGraph,
    solution: Solution,
    n: int = 20,
    *,
    seed: int = 42,
    others_marginal: bool = False,
    human_always_toggles: bool = False,
) -> list[Rollout]:
    """Play n episodes; arguments and errors as `rollout`."""
    return [
        rollout(
            graph,
            solution,
            index,
            seed=seed,
            others_marginal=others_marginal,
            human_always_toggles=human_always_toggles,
        )
        for index in range(n)
    ]
