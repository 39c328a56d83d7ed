"""The client of the plain model: utilities, memory, expectation, perception (the rules stand in `reference`)."""

from __future__ import annotations

import math

import numpy as np

from .octants import ANTI_COMPLEMENT, COMPLEMENT, U_MIN, U_SPAN, named_matrix
from .params import MEMORY_SIZE, Params
from .summation import pairwise_sum, recency_weights

Pairs = list[tuple[int, int]]

DISTORTION_WINDOW = 15
STUCK_SETS = {"cold_stuck": (5, 6, 7), "dominant_stuck": (0, 1, 7), "submissive_stuck": (3, 4, 5)}


def utility_matrix(seed: int, name: str | None) -> list[list[float]]:
    """The named matrix, or the one drawn from the seed's first 64 doubles, row by row."""
    if name is not None:
        return named_matrix(name).tolist()  # type: ignore[no-any-return]
    draws = np.random.RandomState(seed).random_sample((8, 8))
    return (U_MIN + U_SPAN * draws).tolist()  # type: ignore[no-any-return]


def initial_memory(seed: int, pattern: str) -> Pairs:
    """The 50 pairs (client octant, therapist octant) before therapy, oldest first."""
    rng = np.random.RandomState(seed)
    pairs: Pairs = []
    for _ in range(MEMORY_SIZE):
        if pattern == "cold_warm":
            pairs.append((6, 2))
        elif pattern == "conflictual":
            pairs.append((0, 0))
        elif pattern == "mixed_random":
            c = int(rng.choice(8))
            pairs.append((c, int(rng.choice(8))))
        elif pattern == "complementary_perfect":
            r = rng.random_sample()
            c = int(rng.choice([1, 2, 3] if r < 0.70 else [0, 4] if r < 0.90 else [5, 6, 7]))
            pairs.append((c, int(COMPLEMENT[c])))
        else:
            problems = STUCK_SETS[pattern]
            c = int(rng.choice(problems) if rng.random_sample() < 0.8 else rng.choice(8))
            pairs.append((c, int(ANTI_COMPLEMENT[c]) if c in problems else int(rng.choice(8))))
    return pairs


def most_frequent(octants: list[int]) -> int:
    """The octant that occurs most; of equals the one that occurs last."""
    largest = max(octants.count(a) for a in set(octants))
    return next(a for a in reversed(octants) if octants.count(a) == largest)


class Client:
    """A client in therapy: utilities, memory, and what follows from them."""

    def __init__(self, params: Params, seed: int, u: list[list[float]]) -> None:
        """Set up the client of `seed` before its first session."""
        self.params = params
        self.u = u
        self.u_min = min(min(row) for row in u)
        self.u_max = max(max(row) for row in u)
        self.weights = recency_weights(params.recency_weighting_factor)
        self.memory = initial_memory(seed, params.pattern)
        self.rng = np.random.RandomState(seed)
        self.appraise()

    def appraise(self) -> None:
        """Recompute satisfaction, bond and probabilities from the memory."""
        worth = [self.u[c][o] * w for (c, o), w in zip(self.memory, self.weights, strict=True)]
        self.rs = pairwise_sum(worth) / pairwise_sum(self.weights)
        self.bond = self.bond_at(self.rs)
        self.probabilities = self.expected_choice()

    def bond_at(self, rs: float) -> float:
        """Bond that a satisfaction gives."""
        place = (rs - self.u_min) / (self.u_max - self.u_min)
        exponent = -self.params.bond_alpha * (2.0 * (place - self.params.bond_offset))
        return 1.0 / (1.0 + math.exp(exponent)) if exponent < 709.78 else 0.0

    def perceived(self, n: int) -> list[int]:
        """The last `n` perceived octants."""
        return [o for _, o in self.memory[-n:]]

    def marginal(self) -> list[float]:
        """Weighted frequency of each perceived octant."""
        sums, total = [0.0] * 8, 0.0
        for (_, o), w in zip(self.memory, self.weights, strict=True):
            sums[o] += w
            total += w
        return [value / total for value in sums]

    def conditional(self, c: int) -> list[float]:
        """Smoothed weighted frequency of each perceived octant among the memories with client octant c."""
        sums = [0.0] * 8
        for (client, o), w in zip(self.memory, self.weights, strict=True):
            if client == c:
                sums[o] += w
        sums = [value + self.params.smoothing_alpha for value in sums]
        total = pairwise_sum(sums)
        return [value / total for value in sums]

    def expected_choice(self) -> list[float]:
        """Probabilities of the next octant under the client's own mechanism."""
        mechanism, k = self.params.mechanism, self.params.history_weight
        if mechanism.startswith("bond_weighted"):
            k = self.bond**self.params.bond_power * k
        if mechanism == "bond_only":
            frequencies, k = [[0.0] * 8] * 8, 0.0
        elif "conditional" in mechanism:
            frequencies = [self.conditional(c) for c in range(8)]
        else:
            frequencies = [self.marginal()] * 8
        return self.choice_probabilities(frequencies, k, self.bond)

    def choice_probabilities(self, frequencies: list[list[float]], k: float, bond: float) -> list[float]:
        """Probabilities of the octants for given frequencies (a row per client octant), amplifier k and bond."""
        position = 7.0 * bond
        lower = min(int(position), 7)
        upper = min(lower + 1, 7)
        share = position - lower
        payoffs = []
        for row, f in zip(self.u, frequencies, strict=True):
            a = sorted(row[j] + (row[j] * f[j]) * k for j in range(8))
            payoffs.append((1.0 - share) * a[lower] + share * a[upper])
        x = [payoff / self.params.entropy for payoff in payoffs]
        largest = max(x)
        e = [math.exp(value - largest) for value in x]
        total = pairwise_sum(e)
        return [value / total for value in e]

    def draw(self) -> int:
        """Show an octant."""
        u = self.rng.random_sample()
        running, cumulative = 0.0, []
        for p in self.probabilities:
            running += p
            cumulative.append(running)
        return sum(value / running <= u for value in cumulative)

    def perceive(self, enacted: int) -> int:
        """The octant that the client takes the therapist's for."""
        if not self.params.enable_parataxic or self.rng.random_sample() < self.params.baseline_accuracy:
            return enacted
        return most_frequent(self.perceived(DISTORTION_WINDOW))

    def remember(self, c: int, perceived: int) -> None:
        """Append a pair, drop the oldest, and reappraise."""
        self.memory = [*self.memory[1:], (c, perceived)]
        self.appraise()
