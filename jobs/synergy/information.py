"""Information in bits: what a confusion matrix tells of the target, and decompositions of a joint distribution.

For T and two sources (size, u), with H the entropy and I the mutual information:

    co_information = I(T;size) + I(T;u) - I(T;size,u)
    I_min          = sum_t p(t) min over sources of sum_x p(x|t) log2(p(t|x) / p(t))     (Williams and Beer 2010)
    I_MMI          = min(I(T;size), I(T;u))

unique = I(T;source) - redundant, synergy = I(T;size,u) - redundant - both unique. The Miller-Madow estimate is
I - (k_joint - k_row - k_col + 1) / (2 n ln 2) over non-empty cells (Miller 1955).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .data import Doubles


def entropy(p: Doubles) -> float:
    """Return the entropy of probabilities, in bits."""
    some = p[p > 0.0]
    return float(-(some * np.log2(some)).sum()) + 0.0


def mutual_information(joint: Doubles) -> float:
    """Return the mutual information of rows and columns of a table of probabilities, in bits."""
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    some = joint > 0.0
    return float((joint[some] * np.log2(joint[some] / product[some])).sum())


def confusion_information(counts: ArrayLike) -> dict[str, float]:
    """Return n, accuracy and the information between truth and prediction of a matrix [K,K] of counts, rows = true.

    Keys: n, accuracy, mi_bits_plugin, mi_bits_miller_madow; all zero for an empty matrix.

    Raises:
        ValueError: the matrix is not square, or a count is negative.
    """
    table = np.asarray(counts, np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ValueError(f"counts: shape {table.shape}; it must be square")
    if not (table >= 0.0).all():
        raise ValueError("counts: they must be at least 0")
    n = table.sum()
    if n == 0.0:
        return {"n": 0, "accuracy": 0.0, "mi_bits_plugin": 0.0, "mi_bits_miller_madow": 0.0}
    plugin = mutual_information(table / n)
    cells = (table > 0).sum()
    rows, columns = (table.sum(axis=1) > 0).sum(), (table.sum(axis=0) > 0).sum()
    correction = (cells - rows - columns + 1) / (2.0 * n * np.log(2.0))
    return {
        "n": int(n),
        "accuracy": float(table.trace() / n),
        "mi_bits_plugin": plugin,
        "mi_bits_miller_madow": float(plugin - correction),
    }


def specific_information(source_and_target: Doubles) -> Doubles:
    """Return sum_x p(x|t) log2(p(t|x) / p(t)) for each t of a table p(x, t); zero where p(t) is zero."""
    p_t = source_and_target.sum(axis=0)
    p_x = source_and_target.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = source_and_target / p_t * np.log2(source_and_target / (p_x * p_t))
    return np.where(source_and_target > 0.0, terms, 0.0).sum(axis=0)


def pid(joint: ArrayLike) -> dict[str, Any]:
    """Return the decomposition of a joint table p(size, u, T), f8[sizes, u bins, classes], in bits.

    Keys: H_T, I_T_size, I_T_u, I_T_both, co_information, pid_I_min and pid_I_MMI (redundant, unique_size, unique_u,
    synergy), the Bayes accuracies bayes_acc_size_only, bayes_acc_u_only, bayes_acc_both, and chance_acc_majority.

    Raises:
        ValueError: not three axes, a negative entry, or a sum other than 1.
    """
    p = np.asarray(joint, np.float64)
    if p.ndim != 3:
        raise ValueError(f"joint: shape {p.shape}; it must have three axes: size, u, T")
    if not (p >= 0.0).all() or abs(p.sum() - 1.0) > 1e-6:
        raise ValueError(f"joint: it must be probabilities that sum to 1, found the sum {p.sum():.6g}")
    size_t, u_t, both_t = p.sum(axis=1), p.sum(axis=0), p.reshape(-1, p.shape[2])
    p_t = both_t.sum(axis=0)
    i_size, i_u, i_both = mutual_information(size_t), mutual_information(u_t), mutual_information(both_t)
    least = np.minimum(specific_information(size_t), specific_information(u_t))
    redundancy = {"pid_I_min": float((p_t * least).sum()), "pid_I_MMI": min(i_size, i_u)}
    return {
        "H_T": entropy(p_t),
        "I_T_size": i_size,
        "I_T_u": i_u,
        "I_T_both": i_both,
        "co_information": i_size + i_u - i_both,
        **{name: decomposition(redundant, i_size, i_u, i_both) for name, redundant in redundancy.items()},
        "bayes_acc_size_only": float(size_t.max(axis=1).sum()),
        "bayes_acc_u_only": float(u_t.max(axis=1).sum()),
        "bayes_acc_both": float(both_t.max(axis=1).sum()),
        "chance_acc_majority": float(p_t.max()),
    }


def decomposition(redundant: float, i_size: float, i_u: float, i_both: float) -> dict[str, float]:
    """Return the four atoms that follow from a redundancy."""
    unique_size, unique_u = i_size - redundant, i_u - redundant
    return {
        "redundant": redundant,
        "unique_size": unique_size,
        "unique_u": unique_u,
        "synergy": i_both - redundant - unique_size - unique_u,
    }
