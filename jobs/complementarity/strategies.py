"""The therapists in plain Python; `reference` states what they compute."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .client import Client
from .octants import COMPLEMENT
from .params import Params
from .summation import pairwise_sum

BUILDING, CLIMBING, CONSOLIDATING = "building", "climbing", "consolidating"
FIRST_STRATEGIC_SESSION = 10
LEAST_BOND = 0.1
K = [int(octant) for octant in COMPLEMENT]


class Therapist:
    """What a run needs of a therapist: its answer to the client's octant, and an ear for how it was perceived."""

    phase: str = BUILDING
    target: tuple[int, int] | None = None

    def decide(self, client: Client, c: int, session: int, theta: float) -> int:
        """The octant that answers c."""
        raise NotImplementedError

    def feedback(self, client: Client, perceived: int, session: int) -> None:
        """Hear which octant the client perceived, after it has remembered it."""


class Baseline(Therapist):
    """Answers every octant by its complement."""

    def decide(self, client: Client, c: int, session: int, theta: float) -> int:
        """K(c)."""
        return K[c]


def lead_of_others(counts: list[int], t: int) -> int:
    """Largest count of an octant other than t."""
    return max(n for a, n in enumerate(counts) if a != t)


class Strategist(Therapist):
    """The skeleton of V1 and V2: three phases around a search for a target."""

    def __init__(self, params: Params) -> None:
        """Start in phase *building*, without a target."""
        self.params = params
        self.accuracy = params.baseline_accuracy
        self.phase = BUILDING
        self.target: tuple[int, int] | None = None

    def counts(self, client: Client) -> list[int]:
        """How often each octant was perceived in the therapist's window."""
        window = client.perceived(self.params.perception_window)
        return [window.count(a) for a in range(8)]

    def need(self, counts: list[int], t: int) -> int:
        """Expected seeds until t is the most frequent octant alone; 0 if it is."""
        others = lead_of_others(counts, t)
        return 0 if counts[t] > others else math.ceil(max(1, others + 1 - counts[t]) / self.accuracy)

    def required(self, counts: list[int], t: int) -> int:
        """Seeds until t leads, as the monitor counts them."""
        raw = max(0, lead_of_others(counts, t) + 1 - counts[t])
        return raw if self.accuracy >= 1.0 or raw == 0 else math.ceil(raw / self.accuracy)

    def identify(self, client: Client, session: int) -> bool:
        """Replace the target by the best one now, or by none; tell whether there is one."""
        raise NotImplementedError

    def may_start(self, client: Client) -> bool:
        """Whether a target that was found while building is acted upon."""
        raise NotImplementedError

    def watch(self, client: Client) -> None:
        """Begin to watch the seeds for a new target."""

    def seeds(self, client: Client, c: int, session: int, target: tuple[int, int]) -> bool:
        """Whether c is answered by the target's octant."""
        raise NotImplementedError

    def decide(self, client: Client, c: int, session: int, theta: float) -> int:
        """K(c), or the target's octant."""
        if client.rs >= theta:
            self.phase = CONSOLIDATING
            return K[c]
        if self.phase == BUILDING:
            if session < FIRST_STRATEGIC_SESSION or client.bond < LEAST_BOND:
                return K[c]
            if not self.identify(client, session) or not self.may_start(client):
                return K[c]
            self.phase = CLIMBING
            self.watch(client)
        elif self.phase == CONSOLIDATING:
            if not self.identify(client, session):
                return K[c]
            self.phase = CLIMBING
            self.watch(client)
        if self.target is not None and c == self.target[0]:
            self.phase = CONSOLIDATING
            return K[c]
        worth = None if self.target is None else client.u[self.target[0]][self.target[1]]
        if (worth is None or client.u[c][K[c]] > worth) and self.identify(client, session):
            self.watch(client)
            if self.target is not None and c == self.target[0]:
                self.phase = CONSOLIDATING
                return K[c]
        if self.target is not None and self.seeds(client, c, session, self.target):
            self.seeded(self.target[1])
            return self.target[1]
        return K[c]

    def seeded(self, octant: int) -> None:
        """Take note that the target's octant was played."""


@dataclass
class Monitor:
    """How the seeds for one target were received."""

    octant: int
    initial: int
    previous: list[int]
    attempts: int = 0
    wins: int = 0
    consecutive: int = 0
    boosts: list[int] = field(default_factory=lambda: [0] * 8)


class V2(Strategist):
    """Weighs all 64 pairs, and watches how its seeds are read."""

    def __init__(self, params: Params, horizon: int) -> None:
        """Plan to session `horizon`."""
        super().__init__(params)
        self.horizon = horizon
        self.monitor: Monitor | None = None
        self.failed: set[int] = set()
        self.pending: int | None = None

    def identify(self, client: Client, session: int) -> bool:
        """Target with the largest positive net benefit; of equals the first by client octant, then therapist's."""
        counts = self.counts(client)
        window = client.perceived(self.params.perception_window)
        mode = next(a for a in reversed(window) if counts[a] == max(counts))
        p, u, accuracy = client.probabilities, client.u, self.accuracy
        frequency = client.marginal()
        h = 1.0 if self.params.mechanism == "bond_only" else self.params.history_weight
        newest = (pairwise_sum(client.weights[40:]) / 10) / 50
        best, self.target = 0.0, None
        for t in range(8):
            need = self.need(counts, t)
            after = (self.horizon - session) - need
            if after <= 3:
                continue
            bond, projected = client.bond, list(frequency)
            if need > 0:
                change = min(0.3, need / 50)
                expected = 0.0
                for c in range(8):
                    expected += u[c][t] * p[c]
                bond = client.bond_at((1 - change) * client.rs + change * expected)
                seeds = math.ceil(need * accuracy)
                projected[t] += seeds * newest
                projected[mode] += ((seeds * (1 - accuracy)) / accuracy) * newest
                total = pairwise_sum(projected)
                projected = [value / total for value in projected]
            floor = min(bond, client.bond)
            regret = 0.0
            for c in range(8):
                regret += p[c] * max(0.0, u[c][K[c]] - u[c][t])
            cost = regret * need
            later = client.choice_probabilities([projected] * 8, h, bond)
            for c in range(8):
                if u[c][t] > client.rs:
                    gain = (((u[c][t] - client.rs) * later[c]) * after * floor) * self.params.seeding_benefit_scaling
                    net = gain - cost
                    wins_tie = self.target is not None and net == best and (c, t) < self.target
                    if net > best or wins_tie:
                        best, self.target = net, (c, t)
        return self.target is not None

    def may_start(self, client: Client) -> bool:
        """Always."""
        return True

    def watch(self, client: Client) -> None:
        """Begin a new monitor for the target."""
        if self.target is not None:
            counts = self.counts(client)
            self.monitor = Monitor(self.target[1], counts[self.target[1]], counts)

    def seeds(self, client: Client, c: int, session: int, target: tuple[int, int]) -> bool:
        """Seed while the target's octant does not lead, or where it is the complement anyway."""
        return K[c] == target[1] or self.need(self.counts(client), target[1]) > 0

    def seeded(self, octant: int) -> None:
        """Await how the seed is perceived."""
        self.pending = octant

    def feedback(self, client: Client, perceived: int, session: int) -> None:
        """Count a seed's success, and abort seeding that fails."""
        seed, self.pending = self.pending, None
        monitor = self.monitor
        if seed is None or monitor is None:
            return
        counts = self.counts(client)
        gains = [0 if a == seed else counts[a] - monitor.previous[a] for a in range(8)]
        monitor.attempts += 1
        if perceived == seed:
            monitor.wins += 1
            monitor.consecutive = 0
        else:
            monitor.consecutive += 1
            if max(gains) > 0:
                monitor.boosts[gains.index(max(gains))] += 1
        net = counts[seed] - monitor.initial
        monitor.previous = counts
        boosted = max(monitor.boosts)
        fails = (
            monitor.consecutive >= self.params.abort_consecutive_failures_threshold
            or (monitor.attempts >= 5 and boosted > 0 and boosted > monitor.wins and net <= 0)
            or self.horizon - session < self.required(counts, monitor.octant) + 3
            or (monitor.attempts >= 10 and monitor.wins / monitor.attempts < self.accuracy - 0.1)
        )
        if not fails:
            return
        old = self.target
        self.monitor = None
        found = self.identify(client, session)
        if found and self.target is not None and old is not None and self.target[1] != old[1]:
            self.failed.add(self.target[1])
            if len(self.failed) >= 3:
                self.phase = CONSOLIDATING
        else:
            self.phase = CONSOLIDATING


class V1(Strategist):
    """Aims at complementary pairs only, with rules of thumb for when seeding pays."""

    def certainty(self, client: Client, t: int) -> float:
        """Expected accuracy of the perception of t, which a misreading favours if t is (one of) the most frequent."""
        counts = self.counts(client)
        leads = counts[t] == max(counts)
        return self.accuracy + (1.0 - self.accuracy) * 1.0 if leads else self.accuracy

    def identify(self, client: Client, session: int) -> bool:
        """Complementary pair of the largest expected gain."""
        best, self.target = -math.inf, None
        for c in range(8):
            gain = client.u[c][K[c]] - client.rs
            if gain > 0 and gain * client.probabilities[c] > best:
                best, self.target = gain * client.probabilities[c], (c, K[c])
        return self.target is not None

    def may_start(self, client: Client) -> bool:
        """Only if the target's octant is likely to be misread and does not lead yet."""
        if self.target is None:
            return False
        t = self.target[1]
        return self.certainty(client, t) <= 0.9 and self.required(self.counts(client), t) > 0

    def seeds(self, client: Client, c: int, session: int, target: tuple[int, int]) -> bool:
        """Seed if it takes at most 3 seeds, or if the expected benefit exceeds the cost."""
        t = target[1]
        if K[c] == t:
            return True
        if self.certainty(client, t) > 0.9:
            return False
        required = self.required(self.counts(client), t)
        if required <= 3:
            return True
        gain = client.u[target[0]][t] - client.rs
        if gain <= 0 or 100 - session < required + 3:
            return False
        benefit = gain * (100 - session - (required + 3)) * 0.3
        return benefit > max(0.0, client.u[c][K[c]] - client.u[c][t]) * required
