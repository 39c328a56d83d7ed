"""Sums of embeddings and their gradients, decoding of the network's outputs, and occupancies, compiled."""

from __future__ import annotations

import math
from typing import Any

from ...kernel.backward import joint_weights
from ...kernel.exponential import exponential
from .compilation import compiled, compiled_entry


@compiled
def add_row(out: Any, source: Any) -> None:
    """Add one row to another."""
    for c in range(len(out)):
        out[c] += source[c]


@compiled_entry
def scenery_sums(weights: Any, ptr: Any, rows: Any, out: Any) -> None:
    """Sum the rows of each place's scenery; weights f4 [V, width], out f4 [places, width], written."""
    for place in range(len(ptr) - 1):
        out[place] = 0.0
        for at in range(ptr[place], ptr[place + 1]):
            add_row(out[place], weights[rows[at]])


@compiled_entry
def embedding_sums(weights: Any, sums: Any, scenery: Any, table: Any, count: Any, out: Any) -> None:
    """Sum the embeddings of n configurations.

    Args:
        weights: f4 [V, width].
        sums: f4 [places, width], of `scenery_sums`.
        scenery, table, count: rows, as `Seen`.
        out: f4 [n, width], written.
    """
    for row in range(len(count)):
        out[row] = 0.0
        for i in range(scenery.shape[1]):
            add_row(out[row], sums[scenery[row, i]])
        for k in range(count[row]):
            add_row(out[row], weights[table[row, k]])


@compiled_entry
def embedding_gradients(
    gradient: Any, scenery: Any, table: Any, count: Any, ptr: Any, rows: Any, sums: Any, weights: Any
) -> None:
    """Gradients of the embedding table from f4 [n, width]; sums f4 [places, width], weights f4 [V, width], written."""
    sums[:] = 0.0
    weights[:] = 0.0
    for row in range(len(count)):
        for i in range(scenery.shape[1]):
            add_row(sums[scenery[row, i]], gradient[row])
        for k in range(count[row]):
            add_row(weights[table[row, k]], gradient[row])
    for place in range(len(ptr) - 1):
        for at in range(ptr[place], ptr[place + 1]):
            add_row(weights[rows[at]], sums[place])


@compiled
def logistic(z: float) -> float:
    """1 / (1 + e^-z), without overflow."""
    if z >= 0.0:
        return 1.0 / (1.0 + exponential(-z))  # type: ignore[no-any-return]
    e = exponential(z)
    return e / (1.0 + e)  # type: ignore[no-any-return]


@compiled_entry
def decode_rows(
    outputs: Any, places: Any, by_place: Any, powers: Any, togo: int, mu: float, sigma: float, Vm: Any, Ve: Any, Vr: Any
) -> None:
    """Values of n configurations from the network's outputs.

    Args:
        outputs: f4 [n, 2 HG + 1]: z of V^m, of V^e, of V_r.
        places: i4 [n, H], cell * 4 + direction of each human.
        by_place: i4 [places, G], distances d.
        powers: f8, gamma_h^(d - 1) by d, 0 at d = 0.
        togo: steps to go.
        mu, sigma: of log(-V_r).
        Vm, Ve: f8 [n, H, G], written.
        Vr: f8 [n], written.
    """
    n_goals = by_place.shape[1]
    width = places.shape[1] * n_goals
    for row in range(len(outputs)):
        for h in range(places.shape[1]):
            for g in range(n_goals):
                d = by_place[places[row, h], g]
                if 0 < d <= togo:
                    c = h * n_goals + g
                    Vm[row, h, g] = powers[d] * logistic(float(outputs[row, c]))
                    Ve[row, h, g] = powers[d] * logistic(float(outputs[row, width + c]))
                else:
                    Vm[row, h, g] = 0.0
                    Ve[row, h, g] = 0.0
        Vr[row] = -math.exp(mu + sigma * float(outputs[row, 2 * width]))


@compiled_entry
def occupancy_rows(model: Any, rows: Any, pi_r: Any, m_h: Any, mass: Any, joint: Any, out: Any) -> None:
    """Add the probability of n rows to their successors under the humans' marginals and the robots' policy.

    Args:
        model, rows: as in `backward_rows`.
        pi_r: f8 [n, R].
        m_h: f8 [n, H, A].
        mass: f8 [n], probabilities of the rows.
        joint: f8 [J], scratch.
        out: f8 [n'], added to.
    """
    for row in range(rows.succ.shape[0]):
        if mass[row] == 0.0:
            continue
        joint_weights(model, m_h[row], joint)
        for j in range(len(joint)):
            for r in range(pi_r.shape[1]):
                p = mass[row] * joint[j] * pi_r[row, r]
                place = rows.succ[row, model.profiles[j, r]]
                if place >= 0:
                    out[place] += p
                    continue
                k = -1 - place - rows.first
                for at in range(rows.exc_ptr[k] - rows.exc_ptr[0], rows.exc_ptr[k + 1] - rows.exc_ptr[0]):
                    out[rows.exc_succ[at]] += p * rows.exc_prob[at]
