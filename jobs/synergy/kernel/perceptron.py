"""A multilayer perceptron, forward and backward, on feature-major activations.

A net is L linear maps, ReLU between them:  X_{l+1} = relu(W_l X_l + b_l),  the last one without ReLU.  X_l is
[sizes[l], n], one column a sample; its columns are padded to a multiple of 32, and padded columns get zero gradients.
All X_l of one application of a net stand one after the other in its stash. Backwards, with G = dLoss/dX_{l+1} before
the ReLU:

    dW_l = G X_l^T,   db_l = sum of G over samples,   dX_l = W_l^T G   (zero where X_l is)
"""

from __future__ import annotations

from typing import Any

from .compilation import compiled
from .tiles import COLUMNS, MIDDLE, TALL, Finish, Start, at, make_tile, row_sum


def make_product(start: Start, finish: Finish) -> Any:
    """Return the compiled product Y (+)= A X, y [rows, columns], columns a multiple of COLUMNS."""
    tall, middle, single = (make_tile(rows, start, finish) for rows in (TALL, MIDDLE, 1))
    by_row, by_tile = start == "bias", finish == "mask"

    @compiled
    def product(a, a_row, a_k, x, x_row, y, y_row, rows, columns, terms, extra):  # type: ignore[no-untyped-def]
        for j in range(0, columns, COLUMNS):
            i = 0
            while i < rows:
                here = extra
                if by_row:
                    here = at(extra, i)
                if by_tile:
                    here = at(extra, i * y_row + j)
                left, right, out = at(a, i * a_row), at(x, j), at(y, i * y_row + j)
                if i + TALL <= rows:
                    tall(left, a_row, a_k, right, x_row, out, y_row, terms, here)
                    i += TALL
                elif i + MIDDLE <= rows:
                    middle(left, a_row, a_k, right, x_row, out, y_row, terms, here)
                    i += MIDDLE
                else:
                    single(left, a_row, a_k, right, x_row, out, y_row, terms, here)
                    i += 1

    return product


hidden_product = make_product("bias", "relu")
output_product = make_product("bias", "store")
masked_product = make_product("zero", "mask")
plain_product = make_product("zero", "store")
added_product = make_product("load", "store")


@compiled
def apply(sizes, weights, biases, parameters, stash, n):  # type: ignore[no-untyped-def]
    """Run a net on the input in its stash; return where in the stash the output begins."""
    layers = weights.shape[0]
    x = 0
    for layer in range(layers):
        width, height = sizes[layer], sizes[layer + 1]
        y = x + width * n
        w, b = at(parameters, weights[layer]), at(parameters, biases[layer])
        if layer < layers - 1:
            hidden_product(w, width, 1, at(stash, x), n, at(stash, y), n, height, n, width, b)
        else:
            output_product(w, width, 1, at(stash, x), n, at(stash, y), n, height, n, width, b)
        x = y
    return x


@compiled
def weight_gradient(left, x, y, rows, width, n, transposed, scratch, accumulate):  # type: ignore[no-untyped-def]
    """y [rows, width] (+)= left [rows, n] x^T; the chain over samples begins at what stands in y if it is added to."""
    padded = -(-width // COLUMNS) * COLUMNS
    for i in range(width):
        for j in range(n):
            transposed[j * padded + i] = x[i * n + j]
    if padded == width:
        if accumulate:
            added_product(left, n, 1, transposed, padded, y, width, rows, padded, n, left)
        else:
            plain_product(left, n, 1, transposed, padded, y, width, rows, padded, n, left)
        return
    for j in range(n):
        for i in range(width, padded):
            transposed[j * padded + i] = 0.0
    for i in range(rows):
        for j in range(padded):
            scratch[i * padded + j] = y[i * width + j] if accumulate and j < width else 0.0
    added_product(left, n, 1, transposed, padded, scratch, padded, rows, padded, n, left)
    for i in range(rows):
        for j in range(width):
            y[i * width + j] = scratch[i * padded + j]


@compiled
def pull_back(  # type: ignore[no-untyped-def]
    sizes,
    weights,
    biases,
    parameters,
    gradients,
    stash,
    n,
    given,
    other,
    transposed,
    scratch,
    accumulate,
    below,
    inputs,
):
    """Gradients of a net's parameters, and below [inputs, n] of its first inputs, from `given` [sizes[-1], n].

    `given` and `other` are used up.
    """
    layers = weights.shape[0]
    x = 0
    for layer in range(layers):
        x += sizes[layer] * n
    for back in range(layers):
        layer = layers - 1 - back
        width, height = sizes[layer], sizes[layer + 1]
        x -= width * n
        weight_gradient(
            given, at(stash, x), at(gradients, weights[layer]), height, width, n, transposed, scratch, accumulate
        )
        bias = biases[layer]
        for i in range(height):
            total = row_sum(at(given, i * n), n)
            gradients[bias + i] = gradients[bias + i] + total if accumulate else total
        w = at(parameters, weights[layer])
        if layer > 0:
            masked_product(w, 1, width, given, n, other, n, width, n, height, at(stash, x))
            given, other = other, given
        else:
            plain_product(w, 1, width, given, n, below, n, inputs, n, height, given)
