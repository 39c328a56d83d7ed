"""The losses of a batch and their gradient: which nets run on what, forwards and back.

Applications of one net that can run together stand side by side as blocks of columns: both decoders run once on
[fused | own | other], where own is z of the decoder's domain and other that of the other domain.

    stage 1   e_attr = enc_attr(attr), e_v = enc_v(v);  z = tanh(w_attr e_attr + w_v e_v), z_D = tanh(e_D)
    stage 2   dec_attr on [z | z_attr | z_v],  dec_v on [z | z_v | z_attr]      fusion, demi-cycle, translation
    stage 3   enc_v on dec_v(z_attr), enc_attr on the base of dec_attr(z_v)     cycle
    stage 4   dec_attr on the first, dec_v on the second                        cycle

Nets are 0 enc_attr, 1 enc_v, 2 dec_attr, 3 dec_v. What the loss of a batch consists of is collected as sums over
samples (`quintet.jobs.synergy.sums` names the places).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..sums import (
    CE,
    CORRECT,
    CORRECT_ATTR,
    CORRECT_V,
    CYCLE_ATTR,
    CYCLE_V,
    DEMI_ATTR,
    DEMI_V,
    FUSED,
    N_ATTR,
    TO_ATTR,
    TO_V,
)
from .compilation import compiled
from .functions import cross_entropy, fuse, predicted, squares, squash, unsquash
from .perceptron import apply, pull_back
from .tiles import PADDING, address_of, at


class Nets(NamedTuple):
    """Sizes [4, L+1] and places of weights and biases [4, L] in the flat parameter vector, int64."""

    sizes: Any
    weights: Any
    biases: Any


class Data(NamedTuple):
    """Rows of a split: attr f4[n,11], v f4[n,n_v], xor_bin u1[n]."""

    attr: Any
    v: Any
    xor_bin: Any


class Terms(NamedTuple):
    """Weights of the four losses, of the cross entropy (loss scale) and of the two domains in the fusion."""

    fusion: float
    demi: float
    cycle: float
    translation: float
    scale: float
    w_attr: Any
    w_v: Any


class Work(NamedTuple):
    """Buffers, float32 but the last three; `first` holds the nets' stashes of stages 1 and 2, `second` of 3 and 4."""

    first: Any
    second: Any
    encoded: Any
    given: Any
    other: Any
    below: Any
    cycled: Any
    transposed: Any
    scratch: Any
    targets: Any
    part: Any
    confusion: Any


@compiled
def gather(data, order, start, samples, n, work):  # type: ignore[no-untyped-def]
    """Copy the samples order[start:start+samples] into the encoders' stashes, one column a sample."""
    attr, v = address_of(work.first[0]), address_of(work.first[1])
    n_v = data.v.shape[1]
    for j in range(samples):
        row = order[start + j]
        for i in range(N_ATTR):
            attr[i * n + j] = data.attr[row, i]
        for i in range(n_v):
            v[i * n + j] = data.v[row, i]
        work.targets[j] = data.xor_bin[row]
    for j in range(samples, n):
        for i in range(N_ATTR):
            attr[i * n + j] = 0.0
        for i in range(n_v):
            v[i * n + j] = 0.0


@compiled
def blocks_of(terms):  # type: ignore[no-untyped-def]
    """Places of the blocks fused, own and other in the decoders' columns (-1: not there), and how many there are."""
    count = 0
    fused, own, other = -1, -1, -1
    if terms.fusion != 0.0:
        fused = count
        count += 1
    if terms.demi != 0.0:
        own = count
        count += 1
    if terms.translation != 0.0 or terms.cycle != 0.0:
        other = count
        count += 1
    return fused, own, other, count


@compiled
def net_of(nets, net):  # type: ignore[no-untyped-def]
    """Sizes and places of one net."""
    return nets.sizes[net], nets.weights[net], nets.biases[net]


@compiled
def forward(nets, parameters, terms, samples, total, n_bins, sums, work):  # type: ignore[no-untyped-def]
    """Run the nets on a gathered batch; add its losses to `sums` and leave gradients of the outputs in the buffers.

    Gradients are those of the mean over `total` samples. Returns where the decoders' outputs begin in their stashes.
    """
    n = -(-samples // PADDING) * PADDING
    p = address_of(parameters)
    d = nets.sizes[0, nets.sizes.shape[1] - 1]
    n_v = nets.sizes[1, 0]
    fused, own, other, count = blocks_of(terms)
    row = count * n
    e = (address_of(work.first[0]), address_of(work.first[1]))
    z = (address_of(work.first[2]), address_of(work.first[3]))
    e_attr = at(e[0], apply(*net_of(nets, 0), p, e[0], n))
    e_v = at(e[1], apply(*net_of(nets, 1), p, e[1], n))
    for domain in range(2):
        here = z[domain]
        mine, foreign = (e_attr, e_v) if domain == 0 else (e_v, e_attr)
        if fused >= 0:
            fuse(e_attr, e_v, terms.w_attr, terms.w_v, here, row, fused * n, n, d)
        if own >= 0:
            squash(mine, here, row, own * n, n, d)
        if other >= 0:
            squash(foreign, here, row, other * n, n, d)
    y_attr = apply(*net_of(nets, 2), p, z[0], row)
    y_v = apply(*net_of(nets, 3), p, z[1], row)
    out_attr, out_v = at(z[0], y_attr), at(z[1], y_v)
    g_attr, g_v = address_of(work.given[0]), address_of(work.given[1])
    logits = N_ATTR * row
    for i in range(logits, (N_ATTR + n_bins) * row):
        g_attr[i] = 0.0
    per_attr, per_v = 1.0 / (total * N_ATTR), 1.0 / (total * n_v)
    if fused >= 0:
        f = np.float32(terms.fusion * per_attr)
        squares(out_attr, row, fused * n, e[0], n, samples, N_ATTR, f, g_attr, sums, FUSED)
        f = np.float32(terms.fusion * per_v)
        squares(out_v, row, fused * n, e[1], n, samples, n_v, f, g_v, sums, FUSED + N_ATTR)
        f = np.float32(terms.fusion * 0.5 * terms.scale / total)
        place = logits + fused * n
        sums[CE] += cross_entropy(at(out_attr, place), row, n, samples, n_bins, work.targets, f, at(g_attr, place))
    if own >= 0:
        f = np.float32(terms.demi * per_attr)
        work.part[:] = 0.0
        squares(out_attr, row, own * n, e[0], n, samples, N_ATTR, f, g_attr, work.part, 0)
        sums[DEMI_ATTR] += work.part.sum()
        f = np.float32(terms.demi * per_v)
        work.part[:] = 0.0
        squares(out_v, row, own * n, e[1], n, samples, n_v, f, g_v, work.part, 0)
        sums[DEMI_V] += work.part.sum()
    if other >= 0:
        f = np.float32(terms.translation * per_attr)
        work.part[:] = 0.0
        squares(out_attr, row, other * n, e[0], n, samples, N_ATTR, f, g_attr, work.part, 0)
        sums[TO_ATTR] += work.part.sum()
        f = np.float32(terms.translation * per_v)
        work.part[:] = 0.0
        squares(out_v, row, other * n, e[1], n, samples, n_v, f, g_v, work.part, 0)
        sums[TO_V] += work.part.sum()
    if terms.cycle != 0.0:
        cycle_forward(nets, p, terms, other * n, row, n, samples, total, n_bins, y_attr, y_v, sums, work)
    return y_attr, y_v


@compiled
def cycle_forward(  # type: ignore[no-untyped-def]
    nets, p, terms, column, row, n, samples, total, n_bins, y_attr, y_v, sums, work
):
    """Stages 3 and 4 from the translations in the columns column .. column + n of the decoders' outputs."""
    d = nets.sizes[0, nets.sizes.shape[1] - 1]
    for domain in range(2):
        # the translation into this domain is encoded here and decoded into the other one
        translated = at(address_of(work.first[2 + domain]), y_attr if domain == 0 else y_v)
        entry = address_of(work.second[domain])
        for i in range(nets.sizes[domain, 0]):
            for j in range(n):
                entry[i * n + j] = translated[i * row + column + j]
        e = apply(*net_of(nets, domain), p, entry, n)
        back = address_of(work.second[3 - domain])
        squash(at(entry, e), back, n, 0, n, d)
        y = apply(*net_of(nets, 3 - domain), p, back, n)
        width = nets.sizes[1 - domain, 0]
        gradient = address_of(work.cycled[1 - domain])
        if domain == 1:
            for i in range(N_ATTR * n, (N_ATTR + n_bins) * n):
                gradient[i] = 0.0
        work.part[:] = 0.0
        f = np.float32(terms.cycle / (total * width))
        target = address_of(work.first[1 - domain])
        squares(at(back, y), n, 0, target, n, samples, width, f, gradient, work.part, 0)
        sums[CYCLE_ATTR if domain == 1 else CYCLE_V] += work.part.sum()


@compiled
def backward(nets, parameters, gradients, terms, samples, accumulate, work):  # type: ignore[no-untyped-def]
    """Gradient of the losses from what `forward` left, added to `gradients` or put in its place."""
    n = -(-samples // PADDING) * PADDING
    p, g = address_of(parameters), address_of(gradients)
    d = nets.sizes[0, nets.sizes.shape[1] - 1]
    fused, own, other, count = blocks_of(terms)
    row = count * n
    transposed, scratch, spare = address_of(work.transposed), address_of(work.scratch), address_of(work.other)
    if count == 0:
        if not accumulate:
            gradients[:] = 0.0
        return
    cycles = terms.cycle != 0.0
    for domain in range(2):
        work.encoded[domain][: d * n] = 0.0
    if cycles:
        for domain in range(2):
            back, entry = address_of(work.second[3 - domain]), address_of(work.second[domain])
            below, given = address_of(work.below[0]), address_of(work.cycled[1 - domain])
            net = net_of(nets, 3 - domain)
            pull_back(*net, p, g, back, n, given, spare, transposed, scratch, accumulate, below, d)
            reencoded = address_of(work.given[2])
            for i in range(d * n):
                reencoded[i] = 0.0
            unsquash(below, back, n, 0, n, d, np.float32(1.0), reencoded)
            width = nets.sizes[domain, 0]
            net = net_of(nets, domain)
            pull_back(*net, p, g, entry, n, reencoded, spare, transposed, scratch, accumulate, below, width)
            translated = address_of(work.given[domain])
            for i in range(width):
                for j in range(samples):
                    translated[i * row + other * n + j] += below[i * n + j]
    for domain in range(2):
        z, given = address_of(work.first[2 + domain]), address_of(work.given[domain])
        below = address_of(work.below[domain])
        net = net_of(nets, 2 + domain)
        again = accumulate or cycles
        pull_back(*net, p, g, z, row, given, spare, transposed, scratch, again, below, d)
        mine, foreign = address_of(work.encoded[domain]), address_of(work.encoded[1 - domain])
        e_attr, e_v = address_of(work.encoded[0]), address_of(work.encoded[1])
        if fused >= 0:
            unsquash(below, z, row, fused * n, n, d, terms.w_attr, e_attr)
            unsquash(below, z, row, fused * n, n, d, terms.w_v, e_v)
        if own >= 0:
            unsquash(below, z, row, own * n, n, d, np.float32(1.0), mine)
        if other >= 0:
            unsquash(below, z, row, other * n, n, d, np.float32(1.0), foreign)
    for net in range(2):
        stash, given = address_of(work.first[net]), address_of(work.encoded[net])
        place = net_of(nets, net)
        again = accumulate or cycles
        pull_back(*place, p, g, stash, n, given, spare, transposed, scratch, again, given, 0)


@compiled
def count_classes(terms, samples, n_bins, y_attr, sums, work):  # type: ignore[no-untyped-def]
    """Count right predictions of a batch: fused (with confusion), and of each domain alone where it was decoded."""
    n = -(-samples // PADDING) * PADDING
    fused, own, other, count = blocks_of(terms)
    row = count * n
    logits = at(address_of(work.first[2]), y_attr + N_ATTR * row)
    for j in range(samples):
        truth = work.targets[j]
        guess = predicted(logits, row, fused * n + j, n_bins)
        work.confusion[truth, guess] += 1
        sums[CORRECT] += guess == truth
        if own >= 0:
            sums[CORRECT_ATTR] += predicted(logits, row, own * n + j, n_bins) == truth
        if other >= 0:
            sums[CORRECT_V] += predicted(logits, row, other * n + j, n_bins) == truth


@compiled
def total_loss(sums, terms, samples, n_v):  # type: ignore[no-untyped-def]
    """Weighted mean loss of the samples whose sums are given; infinite where the scaled entropy leaves float32."""
    attr, v = 0.0, 0.0
    for i in range(N_ATTR):
        attr += sums[FUSED + i]
    for i in range(n_v):
        v += sums[FUSED + N_ATTR + i]
    total = 0.0
    if terms.fusion != 0.0:
        if not np.isfinite(np.float32(terms.scale * sums[CE] / samples)):
            return np.inf
        total += terms.fusion * (attr / N_ATTR + terms.scale * sums[CE] + v / n_v)
    if terms.demi != 0.0:
        total += terms.demi * (sums[DEMI_ATTR] / N_ATTR + sums[DEMI_V] / n_v)
    if terms.cycle != 0.0:
        total += terms.cycle * (sums[CYCLE_ATTR] / N_ATTR + sums[CYCLE_V] / n_v)
    if terms.translation != 0.0:
        total += terms.translation * (sums[TO_ATTR] / N_ATTR + sums[TO_V] / n_v)
    return 0.5 * total / samples
