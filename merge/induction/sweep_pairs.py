"""What the scatter-plot matrices of a sweep show of two variables: Pearson's r, and a LOWESS curve."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...jobs.induction.regression import FEWEST_ROWS, lowess, significance
from ..exports import write_csv

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_POINTS = 1000
"""Points of a scatter plot, through which its LOWESS curve goes; r is that of all rows."""

Names = tuple[str, str]


@dataclass(frozen=True)
class Pair:
    """Two variables.

    Attributes:
        n: rows in which both are finite.
        r, p: Pearson's correlation of these rows and its p-value; nan where one of them does not vary.
        at, fitted: the LOWESS curve through at most `MOST_POINTS` evenly spaced rows; empty below ten rows.
    """

    n: int
    r: float
    p: float
    at: NDArray[np.float64]
    fitted: NDArray[np.float64]

    @property
    def label(self) -> str:
        """The correlation with its stars."""
        return f"{self.r:+.2f}{significance(self.p)}" if np.isfinite(self.r) else ""


def thinned(n: int) -> NDArray[np.int64]:
    """Which of n points are drawn: all, or evenly spaced ones."""
    return np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).astype(np.int64))


def pair(x: NDArray[np.float64], y: NDArray[np.float64]) -> Pair:
    """Return what is shown of two variables, both f8 [n]."""
    from scipy.stats import pearsonr

    known = np.isfinite(x) & np.isfinite(y)
    r = p = float("nan")
    at = fitted = np.empty(0)
    if known.sum() >= 2 and np.ptp(x[known]) > 0 and np.ptp(y[known]) > 0:
        found = pearsonr(x[known], y[known])
        r, p = float(found.statistic), float(found.pvalue)
    rows = thinned(len(x))
    rows = rows[known[rows]]
    if len(rows) >= FEWEST_ROWS and np.ptp(x[rows]) > 0:
        with np.errstate(invalid="ignore", divide="ignore"):  # where all near rows have one value
            at, fitted = lowess(x[rows], y[rows])
    return Pair(int(known.sum()), r, p, at, fitted)


def below_diagonal(names: Sequence[str]) -> Iterator[Names]:
    """Yield (x, y) of the panels below the diagonal of a matrix of variables among themselves."""
    for i, row in enumerate(names):
        yield from ((column, row) for column in names[:i])


def matrix_pairs(
    values: Callable[[str], NDArray[np.float64]], predictors: Sequence[str], outcomes: Sequence[str]
) -> dict[Names, Pair]:
    """Return the panels of the three matrices by (x, y)."""
    names = [(x, y) for y in outcomes for x in predictors]
    names += [*below_diagonal(predictors), *below_diagonal(outcomes)]
    return {(x, y): pair(values(x), values(y)) for x, y in names}


def write_pairs(folder: Path, pairs: dict[Names, Pair], stamp: str | None) -> None:
    """Write `matrices.csv`, the correlations, and `matrices_lowess.csv`, the curves."""
    correlations = [(*names, found.n, found.r, found.p, significance(found.p)) for names, found in pairs.items()]
    write_csv(folder / "matrices.csv", ("x", "y", "n", "r", "p", "mark"), correlations, stamp)
    curves = [
        (*names, at, fitted)
        for names, found in pairs.items()
        for at, fitted in zip(found.at.tolist(), found.fitted.tolist(), strict=True)
    ]
    write_csv(folder / "matrices_lowess.csv", ("x", "y", "x_value", "lowess"), curves, stamp)
