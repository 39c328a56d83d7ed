"""The model in plain Python, written to be read: the twin of the compiled kernel.

Octants 0..7 lie on a circle; K(x) is the complement, A(x) the anti-complement (`octants`). U[c][t] is the client's
utility of showing c and being answered t.

Memory. The last 50 pairs (c_i, o_i) of client octant and perceived therapist octant, oldest first, with weights
w_i ~ 1 + (rho - 1) sqrt(i / 49) that sum to 1. Satisfaction RS = sum u_i w_i / sum w_i with u_i = U[c_i][o_i];
with U's range rescaled to 0..1, bond = 1 / (1 + exp(-2 alpha (RS' - offset))).

Expectation. For each octant c: a_j = U[c][j] + (U[c][j] f_j) k, sorted; the payoff of c is its value at position
7 bond, interpolated. f_j is the weighted frequency of the perceived octant j, for the conditional mechanisms that
among the memories with this c plus 0.1, normalised; k is the history weight h, times bond^bond_power in the
bond-weighted mechanisms; bond_only has f = k = 0. The next octant is drawn from softmax(payoff / entropy).

Perception. With probability 1 - accuracy a client perceives not the enacted octant but the most frequent of the last
15 perceived ones (of equals the latest).

A run. Each session: the client draws c, the therapist answers t, the client perceives and remembers. RS >= theta =
u_min + threshold (u_max - u_min) is success; RS below its initial value after session 10 is a dropout.

Baseline therapist: t = K(c). V2 knows the client. It looks for the target (c, t) of the largest expected net benefit

    ((U[c][t] - RS) pr_t(c)) after_t floor_t sigma - cost_t  > 0,

where need_t seeds (misreadings included) make t the most frequent octant in its window of the memory, after_t are the
sessions left then (more than 3), pr_t and floor_t the client's probabilities and the lower of its bonds then and now,
and cost_t what it loses until then. While its phase is *climbing* it answers with the target's t ("seeds" it) although
that is not complementary, until the client shows the target's c; a monitor aborts seeding that fails.
V1 aims at complementary pairs only and does not monitor.

All three consumers of randomness (matrix, initial memory, client) start from the same seed.
Source: the reference implementation NoahBio/ciit-tracey-model, commit 0fab927, whose sums and choices are followed
in order, including two that are easily taken for errors: the projected frequency gain is divided by 50 although the
weights are normalised already, and after an abort the *new* target is recorded as failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType

import numpy as np
from numpy.typing import NDArray

from .client import Client, utility_matrix
from .octants import COMPLEMENTARITY_DISTANCE
from .params import Params
from .simulation import params_with, seed_array
from .strategies import V1, V2, Baseline, Therapist
from .trajectories import windowed_mean

DROPOUT_SESSION = 10


@dataclass(frozen=True)
class Session:
    """One executed session: octants, the client's state after it, and what the therapist was up to."""

    client: int
    enacted: int
    perceived: int
    rs: float
    bond: float
    phase: str
    target: tuple[int, int] | None
    probabilities: list[float]


@dataclass(frozen=True)
class Run:
    """One therapy; `first_success` is 0 if the threshold was never reached."""

    sessions: list[Session]
    initial_rs: float
    first_success: int
    dropout: bool

    @property
    def client(self) -> NDArray[np.uint8]:
        """Client's octants, u1[sessions]."""
        return np.array([session.client for session in self.sessions], np.uint8)

    @property
    def enacted(self) -> NDArray[np.uint8]:
        """Therapist's octants, u1[sessions]."""
        return np.array([session.enacted for session in self.sessions], np.uint8)

    @property
    def perceived(self) -> NDArray[np.uint8]:
        """Perceived octants, u1[sessions]."""
        return np.array([session.perceived for session in self.sessions], np.uint8)


def run_therapy(client: Client, therapist: Therapist, stops_at_success: bool = True) -> Run:
    """Run sessions until success (if it stops there), dropout, or the last session."""
    params = client.params
    theta = client.u_min + params.threshold * (client.u_max - client.u_min)
    initial_rs = client.rs
    sessions: list[Session] = []
    first_success, dropout = 0, False
    for session in range(1, params.max_sessions + 1):
        probabilities = client.probabilities
        c = client.draw()
        t = therapist.decide(client, c, session, theta)
        phase, target = therapist.phase, therapist.target
        perceived = client.perceive(t)
        client.remember(c, perceived)
        therapist.feedback(client, perceived, session)
        sessions.append(Session(c, t, perceived, client.rs, client.bond, phase, target, probabilities))
        if client.rs >= theta and not first_success:
            first_success = session
        if first_success and stops_at_success:
            break
        if session == DROPOUT_SESSION and client.rs < initial_rs:
            dropout = True
            break
    return Run(sessions, initial_rs, first_success, dropout)


@dataclass(frozen=True)
class Pair:
    """Both runs of one seed; the fields of a `PairBatch` as scalars, and `distance` as an array."""

    params: Params
    seed: int
    v2: Run
    baseline: Run
    category: int
    v2_success: bool
    baseline_success: bool
    v2_dropout: bool
    baseline_dropout: bool
    v2_sessions: int
    baseline_sessions: int
    fork_session: int
    initial_rs: float
    v2_final_rs: float
    baseline_final_rs: float
    v2_final_bond: float
    baseline_final_bond: float
    v2_first_success: int
    baseline_first_success: int
    distance: NDArray[np.float64]


def run_pair(params: Params, seed: int, horizon: int, stops_at_success: bool) -> Pair:
    """Both runs of one seed, with a horizon of the V2 therapist and a stopping rule of their own."""
    u = utility_matrix(seed, params.u_matrix)
    strategic = V1(params) if params.therapist_version == "v1" else V2(params, horizon)
    v2 = run_therapy(Client(params, seed, u), strategic, stops_at_success)
    baseline = run_therapy(Client(params, seed, u), Baseline(), stops_at_success)
    distances = COMPLEMENTARITY_DISTANCE[v2.client, v2.enacted]
    success = (bool(v2.first_success), bool(baseline.first_success))
    return Pair(
        params=params,
        seed=seed,
        v2=v2,
        baseline=baseline,
        category=[(True, False), (False, True), (True, True), (False, False)].index(success),
        v2_success=success[0],
        baseline_success=success[1],
        v2_dropout=v2.dropout,
        baseline_dropout=baseline.dropout,
        v2_sessions=len(v2.sessions),
        baseline_sessions=len(baseline.sessions),
        fork_session=int(np.argmax(distances > 0)) + 1 if distances.any() else 0,
        initial_rs=v2.initial_rs,
        v2_final_rs=v2.sessions[-1].rs,
        baseline_final_rs=baseline.sessions[-1].rs,
        v2_final_bond=v2.sessions[-1].bond,
        baseline_final_bond=baseline.sessions[-1].bond,
        v2_first_success=v2.first_success,
        baseline_first_success=baseline.first_success,
        distance=windowed_mean(distances, params.window_size),
    )


def simulate_pair(
    params: Params,
    seed: int,
    *,
    mechanism: str | None = None,
    pattern: str | None = None,
    u_matrix: str | EllipsisType | None = ...,
    therapist_version: str | None = None,
    enable_parataxic: bool | None = None,
    entropy: float | None = None,
    history_weight: float | None = None,
    bond_power: float | None = None,
    max_sessions: int | None = None,
    trajectories: bool = True,
) -> Pair:
    """One pair of `simulate_pairs`, by the plain program; the same keywords, errors and fields.

    Trajectories are always there: `pair.v2.client`, `pair.v2.sessions[0].rs`, ...; `trajectories` is accepted so
    that a call can be moved from one program to the other.
    """
    params = params_with(
        params,
        mechanism=mechanism,
        pattern=pattern,
        u_matrix=u_matrix,
        therapist_version=therapist_version,
        enable_parataxic=enable_parataxic,
        entropy=entropy,
        history_weight=history_weight,
        bond_power=bond_power,
        max_sessions=max_sessions,
    )
    return run_pair(params, int(seed_array([seed])[0]), params.max_sessions, True)
