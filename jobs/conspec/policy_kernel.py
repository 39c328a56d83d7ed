"""Compiled policy: encoder, one-layer LSTM and heads on de-duplicated observations, and the gradient of its loss.

Parameters are one vector, in this order, every matrix in x out:

    E [D C, hid], b0 [hid], W1 [hid, hid], b1 [hid], Wx [hid, 4 H], Wh [H, 4 H], b [4 H], Wy [H, A + 1], by [A + 1]

The columns of Wx, Wh and b are the gates i, f, g, o; the last column of Wy is the value head.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .compilation import compiled, compiled_entry
from .matrix_kernel import (
    add_column_sums,
    add_product,
    add_transposed_product,
    embed,
    embed_backward,
    fill_rows,
    fill_transposed,
    lstm_cell,
    mask_by,
    rectify,
)

PAD = 16  # head columns of the workspace: one vector of single precision
N_CELLS, N_CODES, HIDDEN, LSTM, ACTIONS = range(5)  # positions in `sizes`

# Positions in the sums over steps that `minibatch` returns.
POLICY_LOSS, VALUE_LOSS, ENTROPY, KL, CLIPPED, N_SUMS = range(6)


class Views(NamedTuple):
    """The parts of a parameter vector as matrices."""

    E: Any
    b0: Any
    W1: Any
    b1: Any
    Wx: Any
    Wh: Any
    b: Any
    Wy: Any
    by: Any


@compiled
def views_of(theta, sizes):  # type: ignore[no-untyped-def]
    """Return the matrices in a parameter vector."""
    hid, width, outs = sizes[HIDDEN], sizes[LSTM], sizes[ACTIONS] + 1
    ends = np.empty(10, np.int64)
    ends[0] = 0
    ends[1] = sizes[N_CELLS] * sizes[N_CODES] * hid
    ends[2] = ends[1] + hid
    ends[3] = ends[2] + hid * hid
    ends[4] = ends[3] + hid
    ends[5] = ends[4] + hid * 4 * width
    ends[6] = ends[5] + width * 4 * width
    ends[7] = ends[6] + 4 * width
    ends[8] = ends[7] + width * outs
    ends[9] = ends[8] + outs
    return Views(
        theta[ends[0] : ends[1]].reshape((sizes[N_CELLS] * sizes[N_CODES], hid)),
        theta[ends[1] : ends[2]],
        theta[ends[2] : ends[3]].reshape((hid, hid)),
        theta[ends[3] : ends[4]],
        theta[ends[4] : ends[5]].reshape((hid, 4 * width)),
        theta[ends[5] : ends[6]].reshape((width, 4 * width)),
        theta[ends[6] : ends[7]],
        theta[ends[7] : ends[8]].reshape((width, outs)),
        theta[ends[8] : ends[9]],
    )


@compiled
def encode(codes, net, n_codes, z0, z1, gx):  # type: ignore[no-untyped-def]
    """Fill both encoder layers and the input half of the LSTM's gates for some observations."""
    embed(codes, net.E, net.b0, n_codes, z0)
    fill_rows(z1, net.b1)
    add_product(z0, net.W1, z1)
    rectify(z1)
    fill_rows(gx, net.b)
    add_product(z1, net.Wx, gx)


@compiled
def head_rows(h, net, padded, out):  # type: ignore[no-untyped-def]
    """Fill logits and value (column A) of some states; `padded` is Wy in 16 columns."""
    for r in range(out.shape[0]):
        for j in range(PAD):
            out[r, j] = 0
        for j in range(len(net.by)):
            out[r, j] = net.by[j]
    add_product(h, padded, out)


@compiled
def fill_padded(Wy, padded):  # type: ignore[no-untyped-def]
    """Write Wy into the first columns of `padded`, 0 into the others."""
    padded[:] = 0
    for r in range(Wy.shape[0]):
        for j in range(Wy.shape[1]):
            padded[r, j] = Wy[r, j]


class Batch(NamedTuple):
    """A batch as an update reads it: [T, N] time by lane, except eps [N], codes u1[U, D], states [pieces, N, H]."""

    slots: Any
    actions: Any
    old_log: Any
    advantages: Any
    targets: Any
    epsilon: Any
    codes: Any
    h0: Any
    c0: Any


@compiled
def matrix(scratch, place, rows, columns):  # type: ignore[no-untyped-def]
    """Take the next matrix from `scratch`; `place[0]` moves on, in steps of 64 bytes of single precision."""
    start = place[0]
    place[0] = start + (rows * columns + 15) // 16 * 16
    return scratch[start : start + rows * columns].reshape((rows, columns))


@compiled
def step_loss(row, n_actions, action, old_log, advantage, target, eps, clip, weights, sums):  # type: ignore[no-untyped-def]
    """Add one step's losses to `sums`; replace its logits and value in `row` by their gradients.

    `weights` are those of the policy, value and entropy terms, each divided by the number of steps.
    """
    highest = row[0]
    for j in range(1, n_actions):
        highest = max(highest, row[j])
    total = row[0] * 0
    for j in range(n_actions):
        total += math.exp(row[j] - highest)
    log_total = math.log(total) + highest
    chosen = math.exp(row[action] - log_total)
    entropy = row[0] * 0
    for j in range(n_actions):
        log_p = row[j] - log_total
        entropy -= math.exp(log_p) * log_p
    mix = (1 - eps) * chosen + eps / n_actions
    log_ratio = math.log(mix) - old_log
    ratio = math.exp(log_ratio)
    bounded = min(max(ratio, 1 - clip), 1 + clip)
    gain, bounded_gain = ratio * advantage, bounded * advantage
    sums[POLICY_LOSS] -= min(gain, bounded_gain)
    sums[ENTROPY] += entropy
    sums[KL] += ratio - 1 - log_ratio
    sums[CLIPPED] += abs(ratio - 1) > clip
    pull = -weights[0] * gain * (1 - eps) * chosen / mix if gain <= bounded_gain else gain * 0
    for j in range(n_actions):
        log_p = row[j] - log_total
        p = math.exp(log_p)
        row[j] = pull * ((j == action) - p) + weights[2] * p * (log_p + entropy)
    error = row[n_actions] - target
    sums[VALUE_LOSS] += error * error / 2
    row[n_actions] = weights[1] * error
    for j in range(n_actions + 1, PAD):
        row[j] = 0


@compiled
def distinct_slots(batch, lanes, starts, first, marks, seen):  # type: ignore[no-untyped-def]
    """Number the observations of some chunks: fill `seen` (row -> number), return their slots in rising order."""
    marks[:] = -1
    for t in range(len(first) - 1):
        for k in range(first[t + 1] - first[t]):
            marks[batch.slots[starts[k] + t, lanes[k]]] = 0
    n_distinct = 0
    for slot in range(len(marks)):
        if marks[slot] == 0:
            marks[slot] = n_distinct
            n_distinct += 1
    distinct = np.empty(n_distinct, np.int64)
    for slot in range(len(marks)):
        if marks[slot] >= 0:
            distinct[marks[slot]] = slot
    for t in range(len(first) - 1):
        for k in range(first[t + 1] - first[t]):
            seen[first[t] + k] = marks[batch.slots[starts[k] + t, lanes[k]]]
    return distinct


@compiled_entry
def minibatch(theta, grad, sizes, batch, scratch, lanes, pieces, lengths, chunk_len, coefs, sums):  # type: ignore[no-untyped-def]
    """Fill `grad` with the gradient of the loss on some chunks, and `sums` with its terms, summed over steps.

    Chunk k is piece pieces[k] of lane lanes[k], lengths[k] steps from step pieces[k] * chunk_len; chunks come
    longest first. Rows of steps are time-major: step 0 of all chunks, step 1 of those that have one, and so on.
    `coefs` holds clip, value and entropy coefficient in the precision of `theta`.

    Returns the number of steps.
    """
    n_codes, width, hid, n_actions = sizes[N_CODES], sizes[LSTM], sizes[HIDDEN], sizes[ACTIONS]
    net, d_net = views_of(theta, sizes), views_of(grad, sizes)
    grad[:] = 0
    n_chunks, n_times = len(lanes), lengths[0]
    starts = pieces * chunk_len
    first = np.zeros(n_times + 1, np.int64)
    n_live = n_chunks
    for t in range(n_times):
        while lengths[n_live - 1] <= t:
            n_live -= 1
        first[t + 1] = first[t] + n_live
    n_steps = first[n_times]
    seen = np.empty(n_steps, np.int64)
    distinct = distinct_slots(batch, lanes, starts, first, np.empty(len(batch.codes), np.int64), seen)
    n_distinct = len(distinct)
    codes = np.empty((n_distinct, batch.codes.shape[1]), np.uint8)
    for u in range(n_distinct):
        codes[u] = batch.codes[distinct[u]]

    place = np.zeros(1, np.int64)
    z0, z1 = matrix(scratch, place, n_distinct, hid), matrix(scratch, place, n_distinct, hid)
    gx = matrix(scratch, place, n_distinct, 4 * width)
    encode(codes, net, n_codes, z0, z1, gx)

    gates = matrix(scratch, place, n_steps, 4 * width)
    cells, tanhs = matrix(scratch, place, n_steps, width), matrix(scratch, place, n_steps, width)
    states, before = matrix(scratch, place, n_steps, width), matrix(scratch, place, n_steps, width)
    initial = matrix(scratch, place, n_chunks, width)
    for k in range(n_chunks):
        before[k] = batch.h0[pieces[k], lanes[k]]
        initial[k] = batch.c0[pieces[k], lanes[k]]
    for t in range(n_times):
        low, high = first[t], first[t + 1]
        for r in range(low, high):
            gates[r] = gx[seen[r]]
        if t > 0:
            before[low:high] = states[first[t - 1] : first[t - 1] + high - low]
        add_product(before[low:high], net.Wh, gates[low:high])
        c_before = initial[: high - low] if t == 0 else cells[first[t - 1] : first[t - 1] + high - low]
        lstm_cell(gates[low:high], c_before, cells[low:high], tanhs[low:high], states[low:high])

    heads, padded = matrix(scratch, place, n_steps, PAD), matrix(scratch, place, width, PAD)
    fill_padded(net.Wy, padded)
    head_rows(states, net, padded, heads)
    weights = np.empty(3, theta.dtype)
    weights[0], weights[1], weights[2] = coefs[0] * 0 + 1, coefs[1], coefs[2]
    weights /= n_steps
    for t in range(n_times):
        for k in range(first[t + 1] - first[t]):
            n, at = lanes[k], starts[k] + t
            step_loss(
                heads[first[t] + k],
                n_actions,
                batch.actions[at, n],
                batch.old_log[at, n],
                batch.advantages[at, n],
                batch.targets[at, n],
                batch.epsilon[n],
                coefs[0],
                weights,
                sums,
            )

    turned, d_padded = matrix(scratch, place, PAD, width), matrix(scratch, place, width, PAD)
    d_states = matrix(scratch, place, n_steps, width)
    fill_transposed(padded, turned)
    d_states[:] = 0
    add_product(heads, turned, d_states)
    d_padded[:] = 0
    add_transposed_product(states, heads, d_padded)
    d_net.Wy[:] = d_padded[:, : n_actions + 1]
    for r in range(n_steps):
        for j in range(n_actions + 1):
            d_net.by[j] += heads[r, j]

    back = matrix(scratch, place, 4 * width, width)
    fill_transposed(net.Wh, back)
    d_h, d_c = matrix(scratch, place, n_chunks, width), matrix(scratch, place, n_chunks, width)
    d_h[:] = 0
    d_c[:] = 0
    for t in range(n_times - 1, -1, -1):
        low, high = first[t], first[t + 1]
        for k in range(high - low):
            c_before = initial[k] if t == 0 else cells[first[t - 1] + k]
            lstm_cell_backward(gates[low + k], c_before, tanhs[low + k], d_states[low + k], d_h[k], d_c[k])
        if t > 0:
            d_h[: high - low] = 0
            add_product(gates[low:high], back, d_h[: high - low])
    add_transposed_product(before, gates, d_net.Wh)

    d_gx = matrix(scratch, place, n_distinct, 4 * width)
    d_gx[:] = 0
    for r in range(n_steps):
        target, row = d_gx[seen[r]], gates[r]
        for j in range(4 * width):
            target[j] += row[j]
    encode_backward(codes, net, d_net, n_codes, z0, z1, d_gx, scratch, place)
    return n_steps


@compiled
def lstm_cell_backward(gates, c_before, tanh_c, d_state, d_h, d_c):  # type: ignore[no-untyped-def]
    """Turn the gates of one row into the gradient of their sums, and `d_c` into that of the cell before."""
    width = len(tanh_c)
    i, f, g, o = gates[:width], gates[width : 2 * width], gates[2 * width : 3 * width], gates[3 * width :]
    for j in range(width):
        dh, squashed = d_state[j] + d_h[j], tanh_c[j]
        dc = d_c[j] + dh * o[j] * (1 - squashed * squashed)
        ij, fj, gj, oj = i[j], f[j], g[j], o[j]
        i[j] = dc * gj * ij * (1 - ij)
        f[j] = dc * c_before[j] * fj * (1 - fj)
        g[j] = dc * ij * (1 - gj * gj)
        o[j] = dh * squashed * oj * (1 - oj)
        d_c[j] = dc * fj


@compiled
def encode_backward(codes, net, d_net, n_codes, z0, z1, d_gx, scratch, place):  # type: ignore[no-untyped-def]
    """Fill the gradients of the encoder and of the LSTM's input weights."""
    n_distinct, hid = z0.shape
    wide = d_gx.shape[1]
    add_column_sums(d_gx, d_net.b)
    add_transposed_product(z1, d_gx, d_net.Wx)
    turned, d_z = matrix(scratch, place, wide, hid), matrix(scratch, place, n_distinct, hid)
    fill_transposed(net.Wx, turned)
    d_z[:] = 0
    add_product(d_gx, turned, d_z)
    mask_by(d_z, z1)
    add_column_sums(d_z, d_net.b1)
    add_transposed_product(z0, d_z, d_net.W1)
    turned, d_z0 = matrix(scratch, place, hid, hid), matrix(scratch, place, n_distinct, hid)
    fill_transposed(net.W1, turned)
    d_z0[:] = 0
    add_product(d_z, turned, d_z0)
    mask_by(d_z0, z0)
    embed_backward(codes, d_z0, n_codes, d_net.E, d_net.b0)
