"""The plain twin of the kernel: the model, its losses, their gradient and Adam in NumPy, batch by batch.

Rows are samples here. Arrays keep the type of the parameters, so that the twin also runs in double precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import sums as at
from .data import Doubles, Floats, Integers, Split
from .objective import Objective
from .parameters import NETS

Array = NDArray[Any]
Tape = list[Array]


def depth_of(parameters: Mapping[str, Array]) -> int:
    """Return how many linear maps a net has."""
    return sum(name.startswith("enc_attr.") and name.endswith(".W") for name in parameters)


def apply(parameters: Mapping[str, Array], net: str, x: Array) -> tuple[Array, Tape]:
    """Run a net on x [n, in]; return its output and the inputs of its linear maps."""
    tape, depth = [], depth_of(parameters)
    for layer in range(depth):
        tape.append(x)
        x = x @ parameters[f"{net}.{layer}.W"].T + parameters[f"{net}.{layer}.b"]
        if layer < depth - 1:
            x = np.maximum(x, 0)
    return x, tape


def pull_back(
    parameters: Mapping[str, Array], net: str, tape: Tape, given: Array, gradients: dict[str, Array]
) -> Array:
    """Add the gradients of a net's parameters; return that of its input."""
    for layer in reversed(range(len(tape))):
        gradients[f"{net}.{layer}.W"] += given.T @ tape[layer]
        gradients[f"{net}.{layer}.b"] += given.sum(axis=0)
        given = given @ parameters[f"{net}.{layer}.W"]
        if layer > 0:
            given = given * (tape[layer] > 0)
    return given


def fused_state(parameters: Mapping[str, Array], split: Split, fusion_weights: tuple[float, float]) -> Array:
    """Return z of the fused input, [n, d]."""
    dtype = parameters["enc_attr.0.W"].dtype.type
    e_attr, _ = apply(parameters, "enc_attr", split.attr)
    e_v, _ = apply(parameters, "enc_v", split.v)
    return np.tanh(dtype(fusion_weights[0]) * e_attr + dtype(fusion_weights[1]) * e_v)


def softmax(logits: Array) -> Array:
    """Return the softmax of each row."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropies(logits: Array, xor_bin: Array) -> Doubles:
    """Return the cross entropy of each row in nats, in double precision."""
    wide = np.asarray(logits, np.float64)
    peak = wide.max(axis=1)
    norm = np.log(np.exp(wide - peak[:, None]).sum(axis=1)) + peak
    return norm - wide[np.arange(len(wide)), np.asarray(xor_bin, np.int64)]


def judge(
    parameters: Mapping[str, Array], split: Split, objective: Objective, scale: float
) -> tuple[Doubles, Integers, dict[str, Array]]:
    """Return the sums of a batch, its confusion matrix, and the gradient of its mean total loss by name."""
    n, n_v = split.v.shape
    dtype = parameters["enc_attr.0.W"].dtype.type
    x = {"attr": split.attr.astype(dtype), "v": split.v.astype(dtype)}
    bins = np.asarray(split.xor_bin, np.int64)
    n_bins = parameters[f"dec_attr.{depth_of(parameters) - 1}.b"].shape[0] - at.N_ATTR
    weights, mix = objective.weights, dict(zip(("attr", "v"), objective.fusion_weights, strict=True))
    mix = {domain: dtype(weight) for domain, weight in mix.items()}
    other = {"attr": "v", "v": "attr"}
    columns = {"attr": at.N_ATTR, "v": n_v}
    gradients = {name: np.zeros_like(array) for name, array in parameters.items()}
    sums = np.zeros(at.length(n_v))
    confusion = np.zeros((n_bins, n_bins), np.int64)

    encoded, tapes = {}, {}
    for domain in x:
        encoded[domain], tapes[domain] = apply(parameters, f"enc_{domain}", x[domain])
    back = {domain: np.zeros_like(encoded[domain]) for domain in x}

    def error_of(output: Array, domain: str) -> Array:
        return output[:, : columns[domain]] - x[domain]

    def spread(error: Array, domain: str, weight: float) -> Array:
        width = columns[domain] + (n_bins if domain == "attr" else 0)
        given = np.zeros((n, width), error.dtype)
        given[:, : columns[domain]] = dtype(weight / (n * columns[domain])) * error
        return given

    def decode(z: Array, domain: str) -> tuple[Array, Tape]:
        return apply(parameters, f"dec_{domain}", z)

    if weights.fusion:
        z = np.tanh(mix["attr"] * encoded["attr"] + mix["v"] * encoded["v"])
        slope = np.zeros_like(z)
        for domain, place in (("attr", at.FUSED), ("v", at.FUSED + at.N_ATTR)):
            output, tape = decode(z, domain)
            error = error_of(output, domain)
            sums[place : place + columns[domain]] = (error.astype(np.float64) ** 2).sum(axis=0)
            given = spread(error, domain, weights.fusion)
            if domain == "attr":
                logits = output[:, at.N_ATTR :]
                sums[at.CE] = cross_entropies(logits, bins).sum()
                np.add.at(confusion, (bins, logits.argmax(axis=1)), 1)
                sums[at.CORRECT] = confusion.trace()
                share = softmax(logits) - np.eye(n_bins, dtype=dtype)[bins]
                strength = scale if objective.synergy else 0.0
                given[:, at.N_ATTR :] = dtype(weights.fusion * 0.5 * strength / n) * share
            slope += pull_back(parameters, f"dec_{domain}", tape, given, gradients)
        for domain in x:
            back[domain] += mix[domain] * (1 - z * z) * slope

    for domain in x:
        z = np.tanh(encoded[domain])
        slope = np.zeros_like(z)
        if weights.demi_cycle:
            output, tape = decode(z, domain)
            error = error_of(output, domain)
            sums[at.DEMI_ATTR if domain == "attr" else at.DEMI_V] = (error.astype(np.float64) ** 2).sum()
            slope += pull_back(parameters, f"dec_{domain}", tape, spread(error, domain, weights.demi_cycle), gradients)
        if weights.translation or weights.cycle:
            target = other[domain]
            output, tape = decode(z, target)
            error = error_of(output, target)
            sums[at.TO_ATTR if target == "attr" else at.TO_V] = (error.astype(np.float64) ** 2).sum()
            given = spread(error, target, weights.translation)
            if weights.cycle:
                again, encoder_tape = apply(parameters, f"enc_{target}", output[:, : columns[target]])
                z_again = np.tanh(again)
                returned, decoder_tape = decode(z_again, domain)
                error = error_of(returned, domain)
                sums[at.CYCLE_ATTR if domain == "attr" else at.CYCLE_V] = (error.astype(np.float64) ** 2).sum()
                slope_again = pull_back(
                    parameters, f"dec_{domain}", decoder_tape, spread(error, domain, weights.cycle), gradients
                )
                given[:, : columns[target]] += pull_back(
                    parameters, f"enc_{target}", encoder_tape, (1 - z_again * z_again) * slope_again, gradients
                )
            slope += pull_back(parameters, f"dec_{target}", tape, given, gradients)
        if weights.demi_cycle or weights.translation or weights.cycle:
            back[domain] += (1 - z * z) * slope
            logits = apply(parameters, "dec_attr", z)[0][:, at.N_ATTR :]
            sums[at.CORRECT_ATTR if domain == "attr" else at.CORRECT_V] = (logits.argmax(axis=1) == bins).sum()

    for domain in x:
        pull_back(parameters, f"enc_{domain}", tapes[domain], back[domain], gradients)
    return sums, confusion, gradients


def adam_step(
    flat: Floats,
    gradient: Floats,
    m: Floats,
    v: Floats,
    step: int,
    learning_rate: float,
    weight_decay: float,
    grad_clip: float | None,
) -> float:
    """Change flat parameters and moments by one step of Adam (step from 1); return the norm before clipping."""
    norm = float(np.sqrt((gradient.astype(np.float64) ** 2).sum()))
    factor = min(1.0, grad_clip / (norm + 1e-6)) if grad_clip else 1.0
    g = flat.dtype.type(factor) * gradient + flat.dtype.type(weight_decay) * flat
    m += (1 - 0.9) * (g - m)
    v += (1 - 0.999) * (g * g - v)
    flat -= (learning_rate / (1 - 0.9**step)) * m / (np.sqrt(v) / np.sqrt(1 - 0.999**step) + 1e-8)
    return norm


__all__ = ["NETS", "adam_step", "apply", "cross_entropies", "depth_of", "fused_state", "judge", "pull_back"]
