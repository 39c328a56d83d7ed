"""Compiled ConSpec: scores, contrastive loss and its gradient on de-duplicated frames; the intrinsic reward.

Parameters are one vector: E [D C, hid], b [hid], then W1, W2 [hid, hid] (in x out) of each prototype, then the
prototypes [P, hid]. See `contrast` and `intrinsic` for the formulas.
"""

from __future__ import annotations

import math

import numpy as np

from .compilation import compiled, compiled_entry
from .matrix_kernel import (
    add_product,
    add_transposed_product,
    embed,
    embed_backward,
    fill_transposed,
    mask_by,
    rectify,
)
from .policy_kernel import matrix

N_CELLS, N_CODES, HIDDEN, PROTOTYPES = range(4)  # positions in `sizes`
COSINE_FLOOR = 1e-6
REFERENCE_SUCCESSES = 16
NEGLIGIBLE = -40.0  # exponent below which a share of the softmax counts as 0: 4e-18, below double precision
ONCE, PEAKS, POTENTIAL = range(3)


@compiled
def table_of(theta, sizes):  # type: ignore[no-untyped-def]
    """Return the embedding table and its bias."""
    hid = sizes[HIDDEN]
    n = sizes[N_CELLS] * sizes[N_CODES] * hid
    return theta[:n].reshape((sizes[N_CELLS] * sizes[N_CODES], hid)), theta[n : n + hid]


@compiled
def projection(theta, sizes, i):  # type: ignore[no-untyped-def]
    """Return both projection matrices of a prototype, and its vector."""
    hid = sizes[HIDDEN]
    start = sizes[N_CELLS] * sizes[N_CODES] * hid + hid
    first, second = start + 2 * i * hid * hid, start + (2 * i + 1) * hid * hid
    vector = start + 2 * sizes[PROTOTYPES] * hid * hid + i * hid
    return (
        theta[first : first + hid * hid].reshape((hid, hid)),
        theta[second : second + hid * hid].reshape((hid, hid)),
        theta[vector : vector + hid],
    )


@compiled
def project(z, W1, W2, p, a1, a2, cosines):  # type: ignore[no-untyped-def]
    """Fill both layers of a projection and the cosines of its rows with the prototype."""
    a1[:] = 0
    add_product(z, W1, a1)
    rectify(a1)
    a2[:] = 0
    add_product(a1, W2, a2)
    rectify(a2)
    length = norm(p)
    for u in range(len(z)):
        cosines[u] = dot(a2[u], p) / max(norm(a2[u]) * length, COSINE_FLOOR)


@compiled
def dot(x, y):  # type: ignore[no-untyped-def]
    """Inner product, accumulated in double precision in eight lanes."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    n = len(x)
    j = 0
    while j + 8 <= n:
        s0 += x[j] * y[j]
        s1 += x[j + 1] * y[j + 1]
        s2 += x[j + 2] * y[j + 2]
        s3 += x[j + 3] * y[j + 3]
        s4 += x[j + 4] * y[j + 4]
        s5 += x[j + 5] * y[j + 5]
        s6 += x[j + 6] * y[j + 6]
        s7 += x[j + 7] * y[j + 7]
        j += 8
    while j < n:
        s0 += x[j] * y[j]
        j += 1
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@compiled
def norm(x):  # type: ignore[no-untyped-def]
    """Euclidean norm."""
    return math.sqrt(dot(x, x))


@compiled_entry
def score(theta, sizes, codes, wanted, scratch, out):  # type: ignore[no-untyped-def]
    """Fill out[u, i], the cosine of observation u with prototype i, where wanted[i]; 0 elsewhere."""
    hid, n = sizes[HIDDEN], len(codes)
    place = np.zeros(1, np.int64)
    z, a1 = matrix(scratch, place, n, hid), matrix(scratch, place, n, hid)
    a2 = matrix(scratch, place, n, hid)
    cosines = np.empty(n, theta.dtype)
    E, b = table_of(theta, sizes)
    embed(codes, E, b, sizes[N_CODES], z)
    out[:] = 0
    for i in range(sizes[PROTOTYPES]):
        if wanted[i]:
            W1, W2, p = projection(theta, sizes, i)
            project(z, W1, W2, p, a1, a2, cosines)
            out[:, i] = cosines


@compiled_entry
def number_rows(ids, marks, distinct, seen):  # type: ignore[no-untyped-def]
    """Number the rows that `ids` name in rising order: fill `distinct` and `seen`; return how many there are."""
    marks[:] = 0
    for f in range(len(ids)):
        marks[ids[f]] = 1
    count = 0
    for row in range(len(marks)):
        if marks[row]:
            marks[row] = count
            distinct[count] = row
            count += 1
    for f in range(len(ids)):
        seen[f] = marks[ids[f]]
    return count


@compiled
def rows_of(seen, offsets, batches, own, with_live, n_rows):  # type: ignore[no-untyped-def]
    """Return the rows that one prototype needs: those of its own batch and, for diversity, of the live one."""
    used = np.zeros(n_rows, np.bool_)
    for b in (own, 0):
        if b == own or with_live:
            first, last = batches[b, 0], batches[b, 0] + batches[b, 1] + batches[b, 2]
            for f in range(offsets[first], offsets[last]):
                used[seen[f]] = True
    return np.flatnonzero(used)


@compiled
def cosine_loss(scores, d_scores, seen, offsets, batch, out):  # type: ignore[no-untyped-def]
    """Fill out = (cos loss, success score, failure score) of one prototype and add to the gradient of its scores."""
    first, n_success, n_failure = batch[0], batch[1], batch[2]
    out[:] = 0
    for k in range(n_success + n_failure):
        low, high = offsets[first + k], offsets[first + k + 1]
        at = seen[low]
        for f in range(low + 1, high):
            if scores[seen[f]] > scores[at]:
                at = seen[f]
        best = scores[at]
        if k < n_success:
            out[0] += abs(1 - best) / n_success
            out[1] += abs(best) / n_success
            d_scores[at] += (1 if best > 1 else -1) / n_success if best != 1 else 0.0
        else:
            out[0] += abs(best) / n_failure
            out[2] += abs(best) / n_failure
            d_scores[at] += (1 if best > 0 else -1) / n_failure if best != 0 else 0.0


@compiled
def diversity_loss(scores, d_scores, seen, offsets, batch, sharpness, weight):  # type: ignore[no-untyped-def]
    """Return orth of the successes of a batch, and add weight * its gradient to `d_scores` [P, rows]."""
    n_prototypes = len(scores)
    longest = 0
    for k in range(batch[0], batch[0] + batch[1]):
        longest = max(longest, offsets[k + 1] - offsets[k])
    v = np.empty((n_prototypes, longest), scores.dtype)
    total = np.empty(longest, scores.dtype)
    lengths = np.empty(n_prototypes, scores.dtype)
    orth = 0.0
    for k in range(batch[0], batch[0] + batch[1]):
        low, n = offsets[k], offsets[k + 1] - offsets[k]
        total[:n] = 0
        for i in range(n_prototypes):
            row, shares = scores[i], v[i]
            highest = row[seen[low]]
            for t in range(1, n):
                highest = max(highest, row[seen[low + t]])
            squares = 0.0
            for t in range(n):
                exponent = sharpness * (row[seen[low + t]] - highest)
                share = math.exp(exponent) if exponent > NEGLIGIBLE else exponent * 0
                shares[t] = share
                squares += share * share
            lengths[i] = math.sqrt(squares)
            for t in range(n):
                shares[t] /= lengths[i]
                total[t] += shares[t]
        for i in range(n_prototypes):
            shares, d_row = v[i], d_scores[i]
            along = 0.0
            for t in range(n):
                along += shares[t] * (total[t] - shares[t])
            orth += along
            # v = e / |e|, so dv pulls on e only across v; e = exp(sharpness c) up to a factor that cancels
            for t in range(n):
                pull = 2 * (total[t] - shares[t]) - 2 * along * shares[t]
                d_row[seen[low + t]] += weight * sharpness * shares[t] * pull
    return orth


@compiled
def back_through_cosine(a2, p, cosine, pull, d_a2, d_p):  # type: ignore[no-untyped-def]
    """Fill d_a2 and add to d_p, given the gradient `pull` of one cosine."""
    long_a, long_p = norm(a2), norm(p)
    product = long_a * long_p
    kind = pull / max(product, COSINE_FLOOR)
    own_a = pull * cosine / (long_a * long_a) if product > COSINE_FLOOR else 0.0
    own_p = pull * cosine / (long_p * long_p) if product > COSINE_FLOOR else 0.0
    for j in range(len(p)):
        d_a2[j] = kind * p[j] - own_a * a2[j]
        d_p[j] += kind * a2[j] - own_p * p[j]


@compiled_entry
def contrast(theta, grad, sizes, codes, seen, offsets, batches, batch_of, with_diversity, coefs, scratch, out):  # type: ignore[no-untyped-def]
    """Fill `grad` with the gradient of the loss and out[P] with (cos loss, success score, failure score).

    Frame f of the concatenated episodes is row seen[f] of the distinct `codes`; episode e is frames offsets[e] ..
    offsets[e + 1] - 1; batch b is `batches[b]` = (first episode, successes, failures), successes first. Prototype i
    contrasts batch batch_of[i]; diversity is taken over the successes of batch 0, the live one. `coefs` holds
    sharpness and diversity weight in the precision of `theta`.

    Returns (total loss, orth).
    """
    hid, n_prototypes, n_rows = sizes[HIDDEN], sizes[PROTOTYPES], len(codes)
    grad[:] = 0
    E, b = table_of(theta, sizes)
    place = np.zeros(1, np.int64)
    z, d_z = matrix(scratch, place, n_rows, hid), matrix(scratch, place, n_rows, hid)
    embed(codes, E, b, sizes[N_CODES], z)
    d_z[:] = 0
    scores, d_scores = np.zeros((n_prototypes, n_rows), theta.dtype), np.zeros((n_prototypes, n_rows), theta.dtype)
    needed = [rows_of(seen, offsets, batches, batch_of[i], with_diversity, n_rows) for i in range(n_prototypes)]
    kept = np.empty((n_prototypes, 2), np.int64)  # where both layers of each prototype lie in `scratch`
    cosines = np.empty(n_rows, theta.dtype)
    work = place[0] + (2 * n_prototypes + 1) * (n_rows * hid + 16)
    loss = 0.0
    for i in range(n_prototypes):
        rows = needed[i]
        n = len(rows)
        W1, W2, p = projection(theta, sizes, i)
        kept[i, 0] = place[0]
        a1 = matrix(scratch, place, n, hid)
        kept[i, 1] = place[0]
        a2 = matrix(scratch, place, n, hid)
        if n == n_rows:
            project(z, W1, W2, p, a1, a2, cosines[:n])
        else:
            there = np.full(1, work)
            mine = matrix(scratch, there, n, hid)
            for r in range(n):
                mine[r] = z[rows[r]]
            project(mine, W1, W2, p, a1, a2, cosines[:n])
        for r in range(n):
            scores[i, rows[r]] = cosines[r]
        cosine_loss(scores[i], d_scores[i], seen, offsets, batches[batch_of[i]], out[i])
        loss += out[i, 0]
    orth = 0.0
    if with_diversity:
        weight = coefs[1] * REFERENCE_SUCCESSES / batches[0, 1]
        orth = diversity_loss(scores, d_scores, seen, offsets, batches[0], coefs[0], weight)
        loss += weight * orth
    d_E, d_b = table_of(grad, sizes)
    for i in range(n_prototypes):
        rows = needed[i]
        n = len(rows)
        W1, W2, p = projection(theta, sizes, i)
        d_W1, d_W2, d_p = projection(grad, sizes, i)
        all_a1 = scratch[kept[i, 0] : kept[i, 0] + n * hid].reshape((n, hid))
        all_a2 = scratch[kept[i, 1] : kept[i, 1] + n * hid].reshape((n, hid))
        n_pulled = 0
        pulled = np.empty(n, np.int64)
        for r in range(n):
            if d_scores[i, rows[r]] != 0:
                pulled[n_pulled] = r
                n_pulled += 1
        there = np.full(1, work)
        mine, a1 = matrix(scratch, there, n_pulled, hid), matrix(scratch, there, n_pulled, hid)
        d_a1, d_a2 = matrix(scratch, there, n_pulled, hid), matrix(scratch, there, n_pulled, hid)
        turned = matrix(scratch, there, hid, hid)
        for k in range(n_pulled):
            r = pulled[k]
            u = rows[r]
            mine[k], a1[k] = z[u], all_a1[r]
            back_through_cosine(all_a2[r], p, scores[i, u], d_scores[i, u], d_a2[k], d_p)
            for j in range(hid):
                if all_a2[r, j] <= 0:
                    d_a2[k, j] = 0
        add_transposed_product(a1, d_a2, d_W2)
        fill_transposed(W2, turned)
        d_a1[:] = 0
        add_product(d_a2, turned, d_a1)
        mask_by(d_a1, a1)
        add_transposed_product(mine, d_a1, d_W1)
        fill_transposed(W1, turned)
        d_a2[:] = 0
        add_product(d_a1, turned, d_a2)
        for k in range(n_pulled):
            target, row = d_z[rows[pulled[k]]], d_a2[k]
            for j in range(hid):
                target[j] += row[j]
    mask_by(d_z, z)
    embed_backward(codes, d_z, sizes[N_CODES], d_E, d_b)
    return loss, orth


@compiled_entry
def intrinsic(scores, slots, lengths, active, settings, events, out, peaks):  # type: ignore[no-untyped-def]
    """Fill the intrinsic reward `out` [T, N], and count what the rewarded peaks are near in `peaks` [N, P, kinds + 1].

    `scores` [rows, P] belong to the observations slots[t, n]; `settings` are (mode, scale, threshold, window, gamma).
    A peak counts for every kind of event within one step of its frame, and in the last column if there is none.
    """
    mode, window, kinds = int(settings[0]), int(settings[3]), peaks.shape[2] - 1
    zero = scores.dtype.type(0)
    scale, threshold = scores.dtype.type(settings[1]), scores.dtype.type(settings[2])
    gamma = scores.dtype.type(settings[4])
    longest = 0
    for n in range(len(lengths)):
        longest = max(longest, lengths[n])
    a, peak = np.empty(longest + 1, scores.dtype), np.empty(longest + 1, scores.dtype)
    out[:] = 0
    peaks[:] = 0
    near = np.empty(kinds, np.bool_)
    for n in range(len(lengths)):
        length = lengths[n]
        for i in range(len(active)):
            if not active[i]:
                continue
            for t in range(length):
                value = scores[slots[t, n], i]
                a[t] = scale * value if value > threshold else zero
            a[length] = 0
            if mode == POTENTIAL:
                for t in range(length):
                    out[t, n] += gamma * a[t + 1] - a[t]
                continue
            for t in range(length):
                is_peak = a[t] > 0
                for other in range(max(0, t - window), min(length, t + window + 1)):
                    if a[other] > a[t]:
                        is_peak = False
                peak[t] = a[t] if is_peak else zero
            for t in range(length):
                paid = peak[t]
                share = scores.dtype.type(1)
                before = zero
                for distance in range(1, min(window, t) + 1):
                    before += share * peak[t - distance]
                    share *= scores.dtype.type(0.5)
                paid -= before
                if paid > 0:
                    out[t, n] += paid
                    near[:] = False
                    is_near = False
                    for other in range(max(0, t - 1), min(length, t + 2)):
                        if events[other, n] > 0:
                            near[events[other, n] - 1] = True
                            is_near = True
                    for kind in range(kinds):
                        peaks[n, i, kind] += near[kind]
                    peaks[n, i, kinds] += not is_near
                    if mode == ONCE:
                        break
