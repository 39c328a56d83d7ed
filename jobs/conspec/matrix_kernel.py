"""Compiled linear algebra of the networks: products, gates, Adam; the same operations in the same order every time.

Products are written out instead of taken from a library so that their bits do not depend on how many threads or
which BLAS a process has; they reach about two thirds of the speed of the best one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .compilation import compiled, compiled_entry

ROWS_OF_B, COLUMNS = 64, 512  # the tile of B that stays in the second-level cache


@compiled
def add_product(A, B, C):  # type: ignore[no-untyped-def]
    """C += A B for [m, k], [k, n], [m, n]."""
    m, n_inner = A.shape
    n = B.shape[1]
    for j0 in range(0, n, COLUMNS):
        j1 = min(n, j0 + COLUMNS)
        for k0 in range(0, n_inner, ROWS_OF_B):
            k1 = min(n_inner, k0 + ROWS_OF_B)
            i = 0
            while i + 4 <= m:
                c0, c1, c2, c3 = C[i, j0:j1], C[i + 1, j0:j1], C[i + 2, j0:j1], C[i + 3, j0:j1]
                k = k0
                while k + 4 <= k1:
                    b0, b1, b2, b3 = B[k, j0:j1], B[k + 1, j0:j1], B[k + 2, j0:j1], B[k + 3, j0:j1]
                    a00, a01, a02, a03 = A[i, k], A[i, k + 1], A[i, k + 2], A[i, k + 3]
                    a10, a11, a12, a13 = A[i + 1, k], A[i + 1, k + 1], A[i + 1, k + 2], A[i + 1, k + 3]
                    a20, a21, a22, a23 = A[i + 2, k], A[i + 2, k + 1], A[i + 2, k + 2], A[i + 2, k + 3]
                    a30, a31, a32, a33 = A[i + 3, k], A[i + 3, k + 1], A[i + 3, k + 2], A[i + 3, k + 3]
                    for j in range(j1 - j0):
                        x0, x1, x2, x3 = b0[j], b1[j], b2[j], b3[j]
                        c0[j] = c0[j] + a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3
                        c1[j] = c1[j] + a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3
                        c2[j] = c2[j] + a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3
                        c3[j] = c3[j] + a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3
                    k += 4
                while k < k1:
                    b0 = B[k, j0:j1]
                    a00, a10, a20, a30 = A[i, k], A[i + 1, k], A[i + 2, k], A[i + 3, k]
                    for j in range(j1 - j0):
                        x0 = b0[j]
                        c0[j] = c0[j] + a00 * x0
                        c1[j] = c1[j] + a10 * x0
                        c2[j] = c2[j] + a20 * x0
                        c3[j] = c3[j] + a30 * x0
                    k += 1
                i += 4
            while i < m:
                c0 = C[i, j0:j1]
                k = k0
                while k + 4 <= k1:
                    b0, b1, b2, b3 = B[k, j0:j1], B[k + 1, j0:j1], B[k + 2, j0:j1], B[k + 3, j0:j1]
                    a00, a01, a02, a03 = A[i, k], A[i, k + 1], A[i, k + 2], A[i, k + 3]
                    for j in range(j1 - j0):
                        c0[j] = c0[j] + a00 * b0[j] + a01 * b1[j] + a02 * b2[j] + a03 * b3[j]
                    k += 4
                while k < k1:
                    b0, a00 = B[k, j0:j1], A[i, k]
                    for j in range(j1 - j0):
                        c0[j] = c0[j] + a00 * b0[j]
                    k += 1
                i += 1


@compiled
def add_transposed_product(A, B, C):  # type: ignore[no-untyped-def]
    """C += A' B for [k, m], [k, n], [m, n]."""
    n_inner, m = A.shape
    n = B.shape[1]
    for j0 in range(0, n, COLUMNS):
        j1 = min(n, j0 + COLUMNS)
        for k0 in range(0, n_inner, ROWS_OF_B):
            k1 = min(n_inner, k0 + ROWS_OF_B)
            i = 0
            while i + 4 <= m:
                c0, c1, c2, c3 = C[i, j0:j1], C[i + 1, j0:j1], C[i + 2, j0:j1], C[i + 3, j0:j1]
                k = k0
                while k + 4 <= k1:
                    b0, b1, b2, b3 = B[k, j0:j1], B[k + 1, j0:j1], B[k + 2, j0:j1], B[k + 3, j0:j1]
                    a00, a01, a02, a03 = A[k, i], A[k + 1, i], A[k + 2, i], A[k + 3, i]
                    a10, a11, a12, a13 = A[k, i + 1], A[k + 1, i + 1], A[k + 2, i + 1], A[k + 3, i + 1]
                    a20, a21, a22, a23 = A[k, i + 2], A[k + 1, i + 2], A[k + 2, i + 2], A[k + 3, i + 2]
                    a30, a31, a32, a33 = A[k, i + 3], A[k + 1, i + 3], A[k + 2, i + 3], A[k + 3, i + 3]
                    for j in range(j1 - j0):
                        x0, x1, x2, x3 = b0[j], b1[j], b2[j], b3[j]
                        c0[j] = c0[j] + a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3
                        c1[j] = c1[j] + a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3
                        c2[j] = c2[j] + a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3
                        c3[j] = c3[j] + a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3
                    k += 4
                while k < k1:
                    b0 = B[k, j0:j1]
                    a00, a10, a20, a30 = A[k, i], A[k, i + 1], A[k, i + 2], A[k, i + 3]
                    for j in range(j1 - j0):
                        x0 = b0[j]
                        c0[j] = c0[j] + a00 * x0
                        c1[j] = c1[j] + a10 * x0
                        c2[j] = c2[j] + a20 * x0
                        c3[j] = c3[j] + a30 * x0
                    k += 1
                i += 4
            while i < m:
                c0 = C[i, j0:j1]
                for k in range(k0, k1):
                    b0, a00 = B[k, j0:j1], A[k, i]
                    for j in range(j1 - j0):
                        c0[j] = c0[j] + a00 * b0[j]
                i += 1


@compiled
def fill_transposed(A, out):  # type: ignore[no-untyped-def]
    """out = A', in squares that fit the first-level cache."""
    m, n = A.shape
    for i0 in range(0, m, 16):
        for j0 in range(0, n, 16):
            for i in range(i0, min(m, i0 + 16)):
                for j in range(j0, min(n, j0 + 16)):
                    out[j, i] = A[i, j]


@compiled
def add_column_sums(A, out):  # type: ignore[no-untyped-def]
    """out += sum of the rows of A."""
    for i in range(A.shape[0]):
        row = A[i]
        for j in range(A.shape[1]):
            out[j] += row[j]


@compiled
def fill_rows(out, row):  # type: ignore[no-untyped-def]
    """Write one row into every row of `out`."""
    for i in range(out.shape[0]):
        target = out[i]
        for j in range(out.shape[1]):
            target[j] = row[j]


@compiled
def rectify(A):  # type: ignore[no-untyped-def]
    """A = max(A, 0); NaN stays."""
    for i in range(A.shape[0]):
        row = A[i]
        for j in range(A.shape[1]):
            value = row[j]
            row[j] = value - value if value < 0 else value


@compiled
def mask_by(A, sign):  # type: ignore[no-untyped-def]
    """Set A to 0 where `sign` is not positive: the gradient of `rectify`."""
    for i in range(A.shape[0]):
        row, kept = A[i], sign[i]
        for j in range(A.shape[1]):
            value = row[j]
            row[j] = value if kept[j] > 0 else value - value


@compiled
def embed(codes, E, bias, n_codes, out):  # type: ignore[no-untyped-def]
    """out[u] = ReLU(bias + sum of the rows of E that the codes of u name): a linear layer on one-hot cells."""
    for u in range(out.shape[0]):
        row = out[u]
        for j in range(len(row)):
            row[j] = bias[j]
        cell = 0
        n_cells = codes.shape[1]
        while cell + 4 <= n_cells:
            e0 = E[cell * n_codes + codes[u, cell]]
            e1 = E[(cell + 1) * n_codes + codes[u, cell + 1]]
            e2 = E[(cell + 2) * n_codes + codes[u, cell + 2]]
            e3 = E[(cell + 3) * n_codes + codes[u, cell + 3]]
            for j in range(len(row)):
                row[j] = row[j] + e0[j] + e1[j] + e2[j] + e3[j]
            cell += 4
        while cell < n_cells:
            e0 = E[cell * n_codes + codes[u, cell]]
            for j in range(len(row)):
                row[j] += e0[j]
            cell += 1
    rectify(out)


@compiled
def embed_backward(codes, d_out, n_codes, d_E, d_bias):  # type: ignore[no-untyped-def]
    """Add the gradients of `embed`'s weights; `d_out` is already masked."""
    for u in range(d_out.shape[0]):
        row = d_out[u]
        for j in range(len(row)):
            d_bias[j] += row[j]
        for cell in range(codes.shape[1]):
            target = d_E[cell * n_codes + codes[u, cell]]
            for j in range(len(row)):
                target[j] += row[j]


# Minimax rational approximation of tanh in single precision, as in Eigen; exact to 4e-7 and free of branches, so
# that a row of gates is computed with vector instructions.
LIMIT = np.float32(7.90531110763549805)
A1, A3, A5, A7 = (
    np.float32(4.89352455891786e-03),
    np.float32(6.37261928875436e-04),
    np.float32(1.48572235717979e-05),
    np.float32(5.12229709037114e-08),
)
A9, A11, A13 = np.float32(-8.60467152213735e-11), np.float32(2.00018790482477e-13), np.float32(-2.76076847742355e-16)
B0, B2, B4, B6 = (
    np.float32(4.89352518554385e-03),
    np.float32(2.26843463243900e-03),
    np.float32(1.18534705686654e-04),
    np.float32(1.19825839466702e-06),
)
HALF32, ONE32 = np.float32(0.5), np.float32(1.0)
OPTIONS: Any = {"fastmath": {"contract"}, "error_model": "numpy"}


def gate_tanh(x):  # type: ignore[no-untyped-def]
    """Return tanh(x) in the precision of x."""
    return math.tanh(x)


@overload(gate_tanh, jit_options=OPTIONS)
def _gate_tanh(x):  # type: ignore[no-untyped-def]
    if x == types.float32:

        def single(x):  # type: ignore[no-untyped-def]
            y = LIMIT if x > LIMIT else x
            y = -LIMIT if y < -LIMIT else y
            z = y * y
            p = ((((((A13 * z + A11) * z + A9) * z + A7) * z + A5) * z + A3) * z + A1) * y
            return p / (((B6 * z + B4) * z + B2) * z + B0)

        return single
    return lambda x: math.tanh(x)


def gate_sigmoid(x):  # type: ignore[no-untyped-def]
    """Return 1 / (1 + exp(-x)) in the precision of x."""
    return 0.5 + 0.5 * math.tanh(0.5 * x)


@overload(gate_sigmoid, jit_options=OPTIONS)
def _gate_sigmoid(x):  # type: ignore[no-untyped-def]
    if x == types.float32:
        return lambda x: HALF32 + HALF32 * gate_tanh(HALF32 * x)
    return lambda x: 0.5 + 0.5 * math.tanh(0.5 * x)


@compiled
def lstm_cell(gates, c_before, c, tanh_c, h):  # type: ignore[no-untyped-def]
    """Turn gate sums (order i, f, g, o) into gates in place, and fill c, tanh(c) and h of the rows of `gates`."""
    width = c.shape[1]
    for r in range(gates.shape[0]):
        row = gates[r]
        i, f, g, o = row[:width], row[width : 2 * width], row[2 * width : 3 * width], row[3 * width :]
        before, cell, squashed, out = c_before[r], c[r], tanh_c[r], h[r]
        for j in range(width):
            i[j] = gate_sigmoid(i[j])
            f[j] = gate_sigmoid(f[j])
            g[j] = gate_tanh(g[j])
            o[j] = gate_sigmoid(o[j])
        for j in range(width):
            value = f[j] * before[j] + i[j] * g[j]
            cell[j] = value
            squashed[j] = gate_tanh(value)
            out[j] = o[j] * squashed[j]


@compiled_entry
def adam(theta, grad, m, v, step, rate, floor, max_norm):  # type: ignore[no-untyped-def]
    """Take one step of Adam (Kingma and Ba 2015; betas 0.9, 0.999) in place; return the norm of the gradient.

    `step` counts from 1; `floor` is epsilon; a gradient longer than `max_norm` is scaled down to it, 0 means never.
    """
    n = len(theta)
    squares = np.zeros(16)
    whole = n - n % 16
    for first in range(0, whole, 16):
        for j in range(16):
            x = np.float64(grad[first + j])
            squares[j] += x * x
    total = 0.0
    for j in range(16):
        total += squares[j]
    for j in range(whole, n):
        total += np.float64(grad[j]) * np.float64(grad[j])
    norm = math.sqrt(total)
    scale = max_norm / (norm + 1e-6) if max_norm > 0 and norm + 1e-6 > max_norm else 1.0
    kind = theta.dtype.type
    factor, b1, b2 = kind(scale), kind(0.9), kind(0.999)
    r1, r2 = kind(1.0 - 0.9), kind(1.0 - 0.999)
    size, root = kind(rate / (1.0 - 0.9**step)), kind(1.0 / math.sqrt(1.0 - 0.999**step))
    tiny = kind(floor)
    for j in range(n):
        g = grad[j] * factor
        m[j] = b1 * m[j] + r1 * g
        v[j] = b2 * v[j] + r2 * (g * g)
        theta[j] -= size * m[j] / (np.sqrt(v[j]) * root + tiny)
    return norm
