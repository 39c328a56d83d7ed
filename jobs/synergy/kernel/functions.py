"""Exponential, hyperbolic tangent and the two kinds of output loss, with their gradients.

exp is Cody and Waite's reduction and a Taylor polynomial in double precision; tanh follows from it. The C library's
differ in the last bit between versions.
"""

from __future__ import annotations

import math

import numpy as np

from .compilation import compiled

LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
LIMIT = 43.0
TWO = 2.0 ** np.arange(-64, 65, dtype=np.float64)
TAYLOR = tuple(1.0 / math.factorial(term) for term in range(13, -1, -1))


@compiled
def exponential(x):  # type: ignore[no-untyped-def]
    """e^x for |x| <= 43; beyond, the value at the limit; NaN for NaN."""
    if x != x:
        return x
    x = min(max(x, -LIMIT), LIMIT)
    k = math.floor(x * LOG2_E + 0.5)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    total = 0.0
    for coefficient in TAYLOR:
        total = total * r + coefficient
    return total * TWO[int(k) + 64]


@compiled
def tanh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic tangent in double precision, rounded to single."""
    e = exponential(2.0 * np.float64(x))
    return np.float32((e - 1.0) / (e + 1.0))


@compiled
def fuse(first, second, w_first, w_second, out, out_row, column, n, rows):  # type: ignore[no-untyped-def]
    """out[:, column:column+n] = tanh(w_first first + w_second second), all [rows, n]."""
    for i in range(rows):
        for j in range(n):
            out[i * out_row + column + j] = tanh(w_first * first[i * n + j] + w_second * second[i * n + j])


@compiled
def squash(value, out, out_row, column, n, rows):  # type: ignore[no-untyped-def]
    """out[:, column:column+n] = tanh(value)."""
    for i in range(rows):
        for j in range(n):
            out[i * out_row + column + j] = tanh(value[i * n + j])


@compiled
def unsquash(given, z, row, column, n, rows, weight, out):  # type: ignore[no-untyped-def]
    """out += weight (1 - z^2) given, the gradient below a tanh; out is [rows, n]."""
    for i in range(rows):
        for j in range(n):
            at = i * row + column + j
            out[i * n + j] += weight * ((np.float32(1.0) - z[at] * z[at]) * given[at])


@compiled
def squares(output, row, column, target, n, samples, rows, factor, gradient, sums, first):  # type: ignore[no-untyped-def]
    """Squared errors of `rows` outputs, added to sums[first], sums[first + 1], ...

    gradient = factor (output - target) at the same place as the output; zero for padded samples.
    """
    for i in range(rows):
        total = 0.0
        for j in range(samples):
            at = i * row + column + j
            error = output[at] - target[i * n + j]
            gradient[at] = factor * error
            total += np.float64(error) * np.float64(error)
        for j in range(samples, n):
            gradient[i * row + column + j] = 0.0
        sums[first + i] += total


@compiled
def cross_entropy(logits, row, n, samples, n_bins, targets, factor, gradient):  # type: ignore[no-untyped-def]
    """Sum over samples of the cross entropy (nats); gradient = factor (softmax - one-hot). Logits are [n_bins, row]."""
    total = 0.0
    for j in range(samples):
        peak = logits[j]
        for k in range(1, n_bins):
            peak = max(peak, logits[k * row + j])
        norm = 0.0
        for k in range(n_bins):
            norm += exponential(np.float64(logits[k * row + j]) - np.float64(peak))
        truth = targets[j]
        total += math.log(norm) + np.float64(peak) - np.float64(logits[truth * row + j])
        for k in range(n_bins):
            share = exponential(np.float64(logits[k * row + j]) - np.float64(peak)) / norm
            gradient[k * row + j] = factor * np.float32(share - (1.0 if k == truth else 0.0))
    for j in range(samples, n):
        for k in range(n_bins):
            gradient[k * row + j] = 0.0
    return total


@compiled
def predicted(logits, row, j, n_bins):  # type: ignore[no-untyped-def]
    """Class of the largest logit of one sample, the lowest of equal ones."""
    best = 0
    for k in range(1, n_bins):
        if logits[k * row + j] > logits[best * row + j]:
            best = k
    return best
