"""A merged sweep as columns, with the regressions that explain it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.regression import (
    FEWEST_ROWS,
    HIGHEST_SHARE,
    LOWEST_SHARE,
    OUTCOMES,
    PREDICTORS,
    SHARES,
    Regression,
    outcome_values,
    raw_values,
    regress,
)
from ...shard.induction.index import text_of
from ...shard.induction.table import map_cells, strata_of
from ...shard.induction.worlds import thawed
from .solved import human_name
from .sweep_pairs import Names, Pair, matrix_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...jobs.induction.config import Config
    from ...jobs.induction.world import World
    from ...shard.context import Context


DISABLED = ("p_disabled_pause", "p_disabled_kill")
"""Outcomes of a world with a pause switch or a kill button."""

OUTCOME_WORDS = {
    "p_left": "P(first action is a right turn)",
    "pi_r_ratio": "share of the left turn in pi_r of both turns",
    "Q_r_ratio": "share of the left turn in |Q_r| of both turns",
    "X_h_ratio": "share of the {0} in the power X_h of both humans",
    "p_first_h1": "P({0} freed first)",
    "p_first_h2": "P({1} freed first)",
    "p_first_neither": "P(nobody freed)",
    "p_disabled_pause": "P(pause switch disabled at the end)",
    "p_disabled_kill": "P(kill button disabled at the end)",
    "neg_log2_negV_r": "-log2(-V_r)",
    "log2_X_h1": "log2 X_h of the {0}",
    "log2_X_h2": "log2 X_h of the {1}",
    "log2_X_h_diff": "log2 X_h, {0} minus {1}",
}
"""Outcomes in words; {0} and {1} are the humans' names."""

PARAMETER_WORDS = {
    "max_steps": "the horizon (max_steps)",
    "beta_h": "the humans' rationality (beta_h)",
    "gamma_h": "the humans' patience (gamma_h)",
    "beta_r": "the robot's rationality (beta_r)",
    "gamma_r": "the robot's patience (gamma_r)",
    "zeta": "the robot's aversion to uncertainty (zeta)",
    "xi": "the robot's aversion to inequality between humans (xi)",
    "eta": "the robot's aversion to inequality over time (eta)",
}


@dataclass(frozen=True)
class Swept:
    """A merged sweep.

    Attributes:
        config: the run's config.
        world: its world.
        columns: as `jobs.induction.sweep` gives them, failed rows left out.
        failures: (index, reason) of parameter sets without a solution.
        seconds: CPU seconds of each row.
        counts: who is most probably freed first, i8 [stratum, H + 3]; the last column counts ties.
        stats: Welford triples f8 [1 + stratum, 3, cell].
        extrema: least and greatest, f8 [2, 1 + stratum, cell].
    """

    config: Config
    world: World
    columns: dict[str, NDArray[Any]]
    failures: list[tuple[int, str]]
    seconds: NDArray[np.float64]
    counts: NDArray[np.int64]
    stats: NDArray[np.float64]
    extrema: NDArray[np.float64]

    @property
    def n(self) -> int:
        """Rows with a solution."""
        return len(self.columns["index"])

    @property
    def strata(self) -> tuple[int, ...]:
        """Horizons."""
        return strata_of(self.config)

    @property
    def humans(self) -> int:
        """Number of humans."""
        return len(self.world.humans)

    def human_name(self, h: int) -> str:
        """Return how figures call a human."""
        return human_name(self.world, h)

    def named(self, text: str) -> str:
        """Return a text with {0} and {1} as the first two humans' names."""
        return text.format(*(self.human_name(h) for h in range(self.humans)), "")

    @cached_property
    def swept_names(self) -> tuple[str, ...]:
        """What varies: the axes of the grid, else the predictors."""
        return tuple(self.config.grid) if self.config.grid else self.predictors

    def metric(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return triples [1 + stratum, 3, ...] and extrema [2, 1 + stratum, ...] of one array metric."""
        first = 0
        for other, shape in map_cells(self.config).items():
            size = shape[0] * shape[1]
            if other == name:
                cells = slice(first, first + size)
                triples = self.stats[..., cells].reshape(*self.stats.shape[:2], *shape)
                return triples, self.extrema[..., cells].reshape(*self.extrema.shape[:2], *shape)
            first += size
        raise KeyError(name)

    @cached_property
    def outcomes(self) -> tuple[str, ...]:
        """The outcomes that this world's columns have and that take ten values or more."""
        found = []
        for name in OUTCOMES:
            if name in ("p_first_h2", "X_h_ratio", "log2_X_h2", "log2_X_h_diff") and self.humans < 2:
                continue
            try:
                values = outcome_values(self.columns, name)
            except ValueError:
                continue
            if len(np.unique(values[np.isfinite(values)])) >= FEWEST_ROWS:
                found.append(name)
        return tuple(found)

    @cached_property
    def predictors(self) -> tuple[str, ...]:
        """The predictors that vary."""
        return tuple(name for name in PREDICTORS if self.n and np.ptp(self.columns[name]) > 0)

    @cached_property
    def constants(self) -> tuple[str, ...]:
        """The predictors that do not vary: no model has them."""
        return tuple(name for name in PREDICTORS if self.n and name not in self.predictors)

    def values(self, name: str) -> NDArray[np.float64]:
        """Return a variable of every row as figures show it, f8 [n]: shares are not clipped."""
        if name in OUTCOMES:
            return raw_values(self.columns, name)
        return np.asarray(self.columns[name], np.float64)

    @cached_property
    def at_bounds(self) -> tuple[str, ...]:
        """Outcomes with more than half of the values beyond the bounds of the logit models; no figure shows them."""
        found = []
        for name in self.outcomes:
            values = self.values(name)
            if name in SHARES and np.mean((values < LOWEST_SHARE) | (values > HIGHEST_SHARE)) > 0.5:
                found.append(name)
        return tuple(found)

    @cached_property
    def drawn_outcomes(self) -> tuple[str, ...]:
        """The outcomes that figures show."""
        return tuple(name for name in self.outcomes if name not in self.at_bounds)

    @cached_property
    def pairs(self) -> dict[Names, Pair]:
        """The panels of the scatter-plot matrices by (x, y)."""
        return matrix_pairs(self.values, self.predictors, self.drawn_outcomes)

    def subsample(self, which: str) -> dict[str, NDArray[Any]]:
        """Return the rows of `all`, of horizons `below` the threshold, or `above` it."""
        assert self.config.sweep is not None
        threshold, steps = self.config.sweep.max_steps_threshold, self.columns["max_steps"]
        rows = {"all": np.ones(self.n, bool), "below": steps < threshold, "above": steps > threshold}[which]
        return {name: column[rows] for name, column in self.columns.items()}

    def fit(self, outcome: str, which: str = "all", interactions: bool = False) -> Regression | None:
        """Return a fitted model of a subsample; None where fewer than ten rows are valid, or it is degenerate."""
        try:
            return regress(self.subsample(which), outcome, PREDICTORS, interactions=interactions)
        except (ValueError, np.linalg.LinAlgError):
            return None

    @cached_property
    def full(self) -> dict[tuple[str, str, bool], Regression]:
        """All models by (outcome, subsample, whether with interactions); those that cannot be fitted are left out."""
        found = {}
        for outcome in self.outcomes:
            for which in ("all", "below", "above"):
                for interactions in (False, True):
                    model = self.fit(outcome, which, interactions)
                    if model is not None:
                        found[outcome, which, interactions] = model
        return found

    @cached_property
    def univariate(self) -> dict[tuple[str, str], Regression]:
        """Models with one predictor by (outcome, predictor)."""
        found = {}
        for outcome in self.outcomes:
            for predictor in self.predictors:
                try:
                    found[outcome, predictor] = regress(self.columns, outcome, (predictor,))
                except (ValueError, np.linalg.LinAlgError):
                    continue
        return found


def swept(context: Context) -> Swept:
    """Return a run's sweep."""
    config: Config = context.config
    with context.result("sweep") as file:
        status = file["rows/status"][()]
        good = status == 0
        columns = {
            name: data[()][good]
            for name, data in file["rows"].items()
            if name not in ("status", "error", "error_offsets")
        }
        index = file["rows/index"][()]
        failures = [(int(index[unit]), text_of(file, "rows/error", int(unit))) for unit in np.flatnonzero(status)]
        return Swept(
            config=config,
            world=thawed(config.worlds[0]),
            columns=columns,
            failures=failures,
            seconds=file["meta/computation_time"][()][good],
            counts=file["counts/first"][()],
            stats=file["stats"][0],
            extrema=file["extrema/maps"][()],
        )
