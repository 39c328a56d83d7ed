"""The model in plain Python, written to be read: the twin of the compiled kernels, for tiny worlds.

Transitions are told in `plain_steps`. Values, backwards in t, with W_h(s', g) = 1 if h attains g in s', else
gamma_h V_h(s', g):

    Q_h(s, g, a_h) = mean over others' a_-h of min over robots' a_R of E W_h(s', g)
    pi_h(a|s, g)   ~ exp(beta_h Q_h);   V^m_h = sum_a pi_h Q_h     (0, and still, where g is attained already)
    m_h(a|s)       = sum_g w_g pi_h(a|s, g), normalised
    Q_r(s, a_R)    = gamma_r E V_r(s');   pi_r ~ (-Q_r)^-beta_r
    V^e_h(s, g)    = E W^e_h(s', g) under pi_r, pi_h(.|s, g) and the others' m
    X_h = sum_g w_g V^e_h^zeta;   U_r = -(mean_h X_h^-xi)^eta;   V_r = D U_r + sum pi_r Q_r

with D = (1 - gamma_r) / (-ln gamma_r). At the horizon V_h = 0 and V_r = terminal_Vr.
Source: the reference implementation mensch72/empo.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .levels import PowerlessError
from .packing import State
from .params import Params
from .plain_steps import transitions
from .solution import AT_ROOT, KEPT, Solution
from .world import World

__all__ = ["PlainGraph", "build", "solve", "transitions"]


@dataclass(frozen=True)
class PlainGraph:
    """The states of every level; attributes and methods as `StateGraph`, transitions by (configuration, profile)."""

    world: World
    max_steps: int
    levels: list[list[State]]
    successors: dict[tuple[Any, ...], list[list[tuple[float, State]]]]

    @property
    def level_sizes(self) -> list[int]:
        """N_t for t = 0..T."""
        return [len(level) for level in self.levels]

    @property
    def n_states(self) -> int:
        """Number of states, all levels."""
        return sum(self.level_sizes)

    @property
    def n_configs(self) -> int:
        """Number of configurations."""
        return len(self.levels[-1])

    @property
    def n_outcomes(self) -> int:
        """Configuration-profile-successor triples over configurations of depth < T."""
        return sum(len(outcomes) for profiles in self.successors.values() for outcomes in profiles)

    def states(self, t: int) -> list[State]:
        """Return the states of level t in row order."""
        return list(self.levels[t])

    def row(self, state: State) -> int:
        """Return the row of a state in its level; KeyError if it is not reached."""
        if not 0 <= state[0] <= self.max_steps or state not in self.levels[state[0]]:
            raise KeyError(state)
        return self.levels[state[0]].index(state)


def build(world: World, max_steps: int | None = None) -> PlainGraph:
    """Enumerate all states that can be reached within the horizon; as `graph.build`."""
    horizon = world.max_steps if max_steps is None else max_steps
    if horizon < 1:
        raise ValueError(f"max_steps is {horizon!r}; allowed are whole numbers from 1 on")
    successors: dict[tuple[Any, ...], list[list[tuple[float, State]]]] = {}
    levels = [[world.initial_state]]
    for t in range(horizon):
        following: dict[State, None] = {(t + 1, *state[1:]): None for state in levels[-1]}
        for state in levels[-1]:
            if state[1:] not in successors:
                successors[state[1:]] = [transitions(world, state, profile) for profile in range(world.n_profiles)]
            for outcomes in successors[state[1:]]:
                following |= {(t + 1, *successor[1:]): None for _, successor in outcomes}
        levels.append(list(following))
    return PlainGraph(world, horizon, levels, successors)


def _softmax(q: list[float], beta: float) -> list[float]:
    best = max(q)
    if beta == math.inf:
        powers = [1.0 if value == best else 0.0 for value in q]
    else:
        powers = [math.exp(beta * (value - best)) for value in q]
    return [power / sum(powers) for power in powers]


class _Level:
    """Both phases for the states of one level."""

    def __init__(self, world: World, params: Params) -> None:
        self.world, self.params = world, params
        self.weights = params.weights(len(world.goals), world.has_goal_list)
        self.habit = params.habit(world.n_actions)
        self.human_joint = list(itertools.product(range(world.n_actions), repeat=len(world.humans)))
        self.robot_joint = list(itertools.product(range(world.n_actions), repeat=len(world.robots)))

    def attained(self, state: State, h: int, g: int) -> bool:
        x, y = state[1][self.world.humans[h]][:2]
        x1, y1, x2, y2 = self.world.goals[g]
        return bool(x1 <= x <= x2 and y1 <= y <= y2)

    def profile(self, humans: tuple[int, ...], robots: tuple[int, ...]) -> int:
        agents = (*self.world.humans, *self.world.robots)
        return sum(a * self.world.n_actions**agent for a, agent in zip((*humans, *robots), agents, strict=True))

    def human_policy(self, state: State, h: int, g: int, expect: Callable[[int], float]) -> tuple[list[float], float]:
        """pi_h(.|s, g) and V^m_h(s, g); `expect(profile)` is E W^m."""
        extreme = max if self.params.optimistic else min
        q = []
        for a in range(self.world.n_actions):
            joint = [humans for humans in self.human_joint if humans[h] == a]
            total = 0.0
            for humans in joint:
                total += extreme(expect(self.profile(humans, robots)) for robots in self.robot_joint)
            q.append(total / len(joint))
        if self.attained(state, h, g):
            return [1.0] + [0.0] * (self.world.n_actions - 1), 0.0
        nu = self.params.nu
        pi = [nu * habit + (1.0 - nu) * p for habit, p in zip(self.habit, _softmax(q, self.params.beta_h), strict=True)]
        return pi, sum(p * value for p, value in zip(pi, q, strict=True))

    def marginal(self, pi: list[list[float]]) -> list[float]:
        """m_h(.|s) from pi_h[g][a]."""
        mass = [sum(w * row[a] for w, row in zip(self.weights, pi, strict=True)) for a in range(self.world.n_actions)]
        return [m / sum(mass) if sum(mass) > 0.0 else 1.0 / len(mass) for m in mass]

    def robot_policy(self, q: list[float], is_last: bool) -> list[float]:
        """pi_r from Q_r; with one step to go all Q_r are equal but for rounding."""
        if is_last and self.params.beta_r == math.inf:
            return [1.0 / len(q)] * len(q)
        if self.params.beta_r == math.inf:
            return _softmax(q, math.inf)
        return _softmax([-self.params.beta_r * math.log(-value) for value in q], 1.0)

    def powers(self, Ve: NDArray[np.float64]) -> list[float]:
        """X_h from V^e [H, G]."""
        sums = [float(sum(w * v**self.params.zeta for w, v in zip(self.weights, row, strict=True))) for row in Ve]
        return [max(total, self.params.power_floor) for total in sums]

    def reward(self, X: list[float]) -> float:
        """U_r."""
        y = sum(x**-self.params.xi for x in X) / (len(X) if self.params.human_aggregate == "mean" else 1)
        return -(y**self.params.eta)

    def values(self, graph: PlainGraph, state: State, following: dict[State, Any] | None) -> dict[str, Any]:
        """All values and policies of one state; `following` holds those of the next level, None at the horizon."""
        world, params = self.world, self.params
        n_humans, n_goals, actions = len(world.humans), len(world.goals), range(world.n_actions)
        outcomes = [
            [(p, (state[0] + 1, *successor[1:])) for p, successor in found] for found in graph.successors[state[1:]]
        ]

        def expect(profile: int, value: Callable[[State], float]) -> float:
            return sum(p * value(successor) for p, successor in outcomes[profile])

        def entering(name: str, h: int, g: int) -> Callable[[State], float]:
            def value(successor: State) -> float:
                if self.attained(successor, h, g):
                    return 1.0
                return params.gamma_h * float(following[successor][name][h, g]) if following else 0.0

            return value

        Vm = np.zeros((n_humans, n_goals))
        pi_h = np.zeros((n_humans, n_goals, world.n_actions))
        for h, g in itertools.product(range(n_humans), range(n_goals)):
            worth = entering("Vm", h, g)
            pi_h[h, g], Vm[h, g] = self.human_policy(state, h, g, lambda p, worth=worth: expect(p, worth))  # type: ignore[misc]
        m = [self.marginal(pi_h[h].tolist()) for h in range(n_humans)]

        def robot_value(successor: State) -> float:
            return float(following[successor]["Vr"]) if following else params.terminal_Vr

        chance = [math.prod(m[h][a] for h, a in enumerate(humans)) for humans in self.human_joint]
        Qr = []
        for robots in self.robot_joint:
            means = [expect(self.profile(humans, robots), robot_value) for humans in self.human_joint]
            Qr.append(params.gamma_r * sum(p * mean for p, mean in zip(chance, means, strict=True)))
        pi_r = self.robot_policy(Qr, following is None)
        Ve = np.zeros((n_humans, n_goals))
        for h, g in itertools.product(range(n_humans), range(n_goals)):
            by_action = dict.fromkeys(actions, 0.0)
            for humans in self.human_joint:
                others = math.prod(m[k][a] for k, a in enumerate(humans) if k != h)
                for p_robots, robots in zip(pi_r, self.robot_joint, strict=True):
                    by_action[humans[h]] += (
                        others * p_robots * expect(self.profile(humans, robots), entering("Ve", h, g))
                    )
            Ve[h, g] = sum(pi_h[h, g, a] * by_action[a] for a in actions)
        X = self.powers(Ve)
        for h, x in enumerate(X):
            if x == 0.0:
                raise PowerlessError(
                    f"human {h} has power X_h = 0 in state {state}; set power_floor, or add a goal", 0, h
                )
        Vr = params.duration * self.reward(X) + sum(p * q for p, q in zip(pi_r, Qr, strict=True))
        return {"Vm": Vm, "Ve": Ve, "Vr": Vr, "Xh": X, "Qr": Qr, "pi_r": pi_r, "m_h": m, "pi_h": pi_h}


def solve(
    graph: PlainGraph,
    params: Params,
    *,
    storage_dtype: str = "float64",
    keep_policies: str = "robot",
    row_chunk: int = 65536,
    threads: int = 1,
    spill: object = None,
) -> Solution:
    """Compute both phases for every state; as `solver.solve`.

    `row_chunk`, `threads` and `spill` stand for the common signature: there are no chunks here, one thread, and
    everything is in memory.
    """
    del row_chunk, threads, spill
    level = _Level(graph.world, params)
    following: dict[State, Any] | None = None
    levels: dict[str, list[Any]] = {name: [None] * graph.max_steps for name in KEPT[keep_policies]}
    roots: dict[str, list[Any]] = {name: [] for name in AT_ROOT}
    for t in range(graph.max_steps - 1, -1, -1):
        states = graph.states(t)
        found = {state: level.values(graph, state, following) for state in states}
        for name, root in roots.items():
            root.append(np.array(found[states[0]][name]))
        for values in found.values():
            for name in ("Vm", "Ve"):
                values[name] = values[name].astype(storage_dtype)
        for name, kept in levels.items():
            kept[t] = np.array([found[state][name] for state in states])
        following = found
    return Solution(params, keep_policies, dict(levels), {name: np.array(root) for name, root in roots.items()})
