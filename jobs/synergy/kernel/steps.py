"""Entries of the kernel: steps of a training, losses of a split, gradient of a batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..objective import BETA_1, BETA_2, EPSILON
from .compilation import compiled, compiled_entry
from .graph import backward, count_classes, forward, gather, total_loss
from .tiles import PADDING, address_of, sum_of_squares

NEGLIGIBLE = np.float32(1e-35)
"""Smaller moments become 0: beside Adam's epsilon they move nothing, and those of a dead unit would decay to subnormal
numbers and stay there, with which some processors compute a hundred times slower."""


class Rule(NamedTuple):
    """How parameters follow the gradient; `clip` 0 means no clipping, `parts` is how many micro-batches a batch has."""

    learning_rate: float
    weight_decay: float
    clip: float
    batch: int
    parts: int


@compiled
def adam(parameters, gradients, m, v, step, factor, rule):  # type: ignore[no-untyped-def]
    """One step of Adam (Kingma and Ba 2015, algorithm 1) on factor * gradient + weight_decay * parameter."""
    b1, b2 = np.float32(BETA_1), np.float32(BETA_2)
    c1, c2 = np.float32(1.0 - BETA_1), np.float32(1.0 - BETA_2)
    rate = np.float32(rule.learning_rate / (1.0 - BETA_1**step))
    root = np.float32(1.0 / np.sqrt(1.0 - BETA_2**step))
    epsilon, decay = np.float32(EPSILON), np.float32(rule.weight_decay)
    f = np.float32(factor)
    for i in range(parameters.shape[0]):
        g = f * gradients[i] + decay * parameters[i]
        first = b1 * m[i] + c1 * g
        second = b2 * v[i] + c2 * (g * g)
        m[i] = np.float32(0.0) if abs(first) < NEGLIGIBLE else first
        v[i] = np.float32(0.0) if second < NEGLIGIBLE else second
        parameters[i] -= rate * first / (np.sqrt(second) * root + epsilon)


@compiled
def batch_gradient(  # type: ignore[no-untyped-def]
    nets, parameters, gradients, data, order, start, samples, micro, terms, n_bins, sums, work
):
    """Gradient of the mean loss of samples order[start:start+samples], taken micro-batch by micro-batch."""
    done = 0
    while done < samples:
        part = min(micro, samples - done)
        n = -(-part // PADDING) * PADDING
        gather(data, order, start + done, part, n, work)
        forward(nets, parameters, terms, part, samples, n_bins, sums, work)
        backward(nets, parameters, gradients, terms, part, done > 0, work)
        done += part


@compiled_entry
def gradient(nets, parameters, gradients, data, order, micro, terms, n_bins, sums, work):  # type: ignore[no-untyped-def]
    """Gradient of the mean loss of the samples in `order`; their losses are added to `sums`."""
    samples = order.shape[0]
    batch_gradient(nets, parameters, gradients, data, order, 0, samples, micro, terms, n_bins, sums, work)


@compiled_entry
def train_steps(  # type: ignore[no-untyped-def]
    nets,
    parameters,
    gradients,
    m,
    v,
    data,
    order,
    first,
    last,
    before,
    terms,
    rule,
    n_bins,
    sums,
    step_sums,
    norms,
    work,
):
    """Take the steps first .. last-1 of an epoch, `before` steps having been taken in earlier epochs.

    Adds the losses of the batches, as trained, to `sums`; norms[0] becomes the gradient's norm of the epoch's step 0,
    norms[1] that of the latest step. Returns the step (within the epoch) at which loss or norm left the range of
    float32, which changed nothing, or -1.
    """
    rows = order.shape[0]
    for step in range(first, last):
        start = step * rule.batch
        samples = min(rule.batch, rows - start)
        micro = -(-samples // rule.parts)
        step_sums[:] = 0.0
        batch_gradient(nets, parameters, gradients, data, order, start, samples, micro, terms, n_bins, step_sums, work)
        norm = np.sqrt(sum_of_squares(address_of(gradients), gradients.shape[0]))
        loss = total_loss(step_sums, terms, samples, data.v.shape[1])
        if not (np.isfinite(np.float32(loss)) and np.isfinite(np.float32(norm))):
            return step
        sums += step_sums
        if step == 0:
            norms[0] = norm
        norms[1] = norm
        factor = min(1.0, rule.clip / (norm + 1e-6)) if rule.clip > 0.0 else 1.0
        adam(parameters, gradients, m, v, before + step + 1, factor, rule)
    return -1


@compiled_entry
def evaluate(nets, parameters, data, columns, terms, n_bins, sums, work):  # type: ignore[no-untyped-def]
    """Add the losses and right predictions of a whole split to `sums`, `columns` rows at a time."""
    rows = data.attr.shape[0]
    order = np.arange(rows)
    for start in range(0, rows, columns):
        samples = min(columns, rows - start)
        n = -(-samples // PADDING) * PADDING
        gather(data, order, start, samples, n, work)
        y_attr, _ = forward(nets, parameters, terms, samples, rows, n_bins, sums, work)
        count_classes(terms, samples, n_bins, y_attr, sums, work)
