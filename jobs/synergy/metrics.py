"""What a trained model is measured by: predictability of synergistic, unique and redundant parts from the workspace."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import sums as at
from .data import Doubles, Integers, Split, check_classes
from .information import confusion_information

LEAST_VARIANCE = 1e-8
Indices = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Partition:
    """Columns whose R2 is averaged, by domain."""

    unique: Indices
    redundant: Indices

    @classmethod
    def of(cls, unique: Indices | None, redundant: Indices | None, n_latents: int, n_v: int) -> Partition:
        """Return the given columns, and for None the defaults of `n_latents` latents among `n_v` columns of v.

        Raises:
            ValueError: an index is out of range.
        """
        sized = {"attr": [at.N_ATTR - 1], "v": list(range(n_latents, n_v))}
        shared = {"attr": list(range(at.N_ATTR - 1)), "v": list(range(n_latents))}
        partition = cls(unique if unique is not None else sized, redundant if redundant is not None else shared)
        for name, indices in (("unique_indices", partition.unique), ("redundant_indices", partition.redundant)):
            for domain, width in (("attr", at.N_ATTR), ("v", n_v)):
                for index in indices.get(domain, ()):
                    if not 0 <= index < width:
                        raise ValueError(f"{name}.{domain}: {index}; it must be from 0 to {width - 1}")
        return partition


def variances(split: Split) -> tuple[Doubles, Doubles]:
    """Return the variance (ddof 1, at least 1e-8) of each column of attr and v."""
    columns = (np.asarray(split.attr, np.float64), np.asarray(split.v, np.float64))
    if len(split.attr) < 2:
        return tuple(np.full(array.shape[1], LEAST_VARIANCE) for array in columns)  # type: ignore[return-value]
    attr, v = (np.maximum(array.var(axis=0, ddof=1), LEAST_VARIANCE) for array in columns)
    return attr, v


def synergy_scores(correct: float, entropy: float, n: int, n_bins: int) -> dict[str, float]:
    """Return accuracy, cross entropy (nats) and skill score from sums over n samples."""
    ce = entropy / n
    skill = 1.0 - ce / math.log(n_bins)
    return {
        "predictability/synergy_acc": correct / n,
        "predictability/synergy_ce": ce,
        "predictability/synergy_norm_ce": min(max(skill, 0.0), 1.0) if math.isfinite(skill) else math.nan,
    }


def r2_scores(
    mse: tuple[Doubles, Doubles], variance: tuple[Doubles, Doubles], partition: Partition
) -> dict[str, float | None]:
    """Return the mean clipped R2 over the listed columns, per domain and over both; None for an empty list."""
    r2 = {
        domain: np.clip(1.0 - errors / spread, 0.0, 1.0)
        for domain, errors, spread in zip(("attr", "v"), mse, variance, strict=True)
    }
    scores: dict[str, float | None] = {}
    both: dict[str, float | None] = {}
    for name, indices in (("unique", partition.unique), ("redundant", partition.redundant)):
        found = {domain: r2[domain][list(indices.get(domain, ()))] for domain in ("attr", "v")}
        for domain, values in found.items():
            scores[f"predictability/{domain}_{name}_r2"] = float(values.mean()) if len(values) else None
        joined = np.concatenate([found["attr"], found["v"]])
        both[f"predictability/{name}_r2"] = float(joined.mean()) if len(joined) else None
    return scores | both


def predictability(
    decoded_attr: NDArray[Any],
    decoded_v: NDArray[Any],
    split: Split,
    *,
    unique_indices: Indices | None = None,
    redundant_indices: Indices | None = None,
) -> dict[str, float | None]:
    """Return how well decoded outputs [n, 11+n_bins] and [n, n_v] recover a split.

    Accuracy, cross entropy and skill score of the synergy target, mean R2 of unique and redundant columns, and the
    reconstruction errors. Indices are {"attr": [...], "v": [...]}; None means u and size unique, the rest redundant.
    All is computed in double precision.

    Raises:
        ValueError: shapes do not fit, there are no rows, or an index or a target is out of range.
    """
    out_attr, out_v = np.asarray(decoded_attr, np.float64), np.asarray(decoded_v, np.float64)
    attr, v = np.asarray(split.attr, np.float64), np.asarray(split.v, np.float64)
    n, n_bins, n_v = len(attr), out_attr.shape[1] - at.N_ATTR, v.shape[1]
    if len(out_attr) != n or n_bins < 2 or out_v.shape != v.shape or n < 1:
        raise ValueError(f"decoded_attr {out_attr.shape} and decoded_v {out_v.shape} do not fit a split of {n} rows")
    check_classes(np.asarray(split.xor_bin), n_bins)
    from .reference import cross_entropies

    logits, truth = out_attr[:, at.N_ATTR :], np.asarray(split.xor_bin, np.int64)
    correct = float((logits.argmax(axis=1) == truth).sum())
    scores = synergy_scores(correct, float(cross_entropies(logits, truth).sum()), n, n_bins)
    mse = (((out_attr[:, : at.N_ATTR] - attr) ** 2).mean(axis=0), ((out_v - v) ** 2).mean(axis=0))
    partition = Partition.of(unique_indices, redundant_indices, min(n_v, 12), n_v)
    return {
        **scores,
        **r2_scores(mse, variances(split), partition),
        "fusion_attr_non_synergy_features_mse": float(mse[0][:-1].mean()),
        "fusion_attr_synergy_source_feature_mse": float(mse[0][-1]),
        "fusion_attr_non_synergy_loss": float(mse[0].mean()),
        "fusion_v_loss": float(mse[1].mean()),
    }


class Judge:
    """Turns the sums of one split into metrics; the split's variances are computed once."""

    def __init__(self, split: Split, partition: Partition, n_bins: int, synergy: bool) -> None:
        """Keep what the metrics of a split need; `synergy` False leaves those of the target undefined."""
        self.rows = len(split)
        self._variances = variances(split)
        self._partition = partition
        self._n_bins = n_bins
        self._synergy = synergy

    def predictability(self, sums: Doubles) -> dict[str, float | None]:
        """Return the predictability metrics that are measured every epoch."""
        scores: dict[str, float | None] = dict(
            synergy_scores(float(sums[at.CORRECT]), float(sums[at.CE]), self.rows, self._n_bins)
        )
        if not self._synergy:
            scores = dict.fromkeys(scores)
        return scores | r2_scores(self._mse(sums), self._variances, self._partition)

    def final(self, sums: Doubles, confusion: Integers) -> dict[str, Any]:
        """Return the metrics that are measured at the end: of single domains, information, reconstruction."""
        mse = self._mse(sums)
        bits = confusion_information(confusion)
        known = self._synergy
        return {
            "unimodal/attr_acc": float(sums[at.CORRECT_ATTR] / self.rows) if known else None,
            "unimodal/v_acc": float(sums[at.CORRECT_V] / self.rows) if known else None,
            "info/synergy_bits": bits["mi_bits_plugin"] if known else None,
            "info/synergy_bits_mm": bits["mi_bits_miller_madow"] if known else None,
            "reconstruction/attr_mse": float(mse[0].mean()),
            "reconstruction/v_mse": float(mse[1].mean()),
            "reconstruction/per_column": [*mse[0].tolist(), *mse[1].tolist()],
        }

    def _mse(self, sums: Doubles) -> tuple[Doubles, Doubles]:
        errors = sums[at.FUSED :] / self.rows
        return errors[: at.N_ATTR], errors[at.N_ATTR :]
