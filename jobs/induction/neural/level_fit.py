"""The fit of one level: a regression of exact one-step targets on configurations.

    minimise  mean over rows of
        sum_{h,g} 1[B > 0] ((V^m - target)^2 + (V^e - target)^2)  +  w_r ((l - target) / sigma)^2

l = log(-V_r); V = B sigmoid(z). Adam (Kingma and Ba 2015) with warm-up and cosine decay (Loshchilov and Hutter 2017).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from .configurations import Keys
from .distance import Bound
from .features import Features
from .network import (
    DivergedError,
    LevelNetwork,
    Parameters,
    Standard,
    empty_sums,
    one_thread,
    trained_outputs,
)
from .stepping import Expansion

WARM_UP, LAST_RATE = 20, 1e-6
LEAST_SIGMA = 1e-3


def standard_of(log_Vr: NDArray[np.float64]) -> Standard:
    """Return mean and standard deviation (at least 1e-3), rounded to f4 so that they can be kept as such."""
    mu, sigma = np.float32(log_Vr.mean()), np.float32(max(float(log_Vr.std()), LEAST_SIGMA))
    return Standard(float(mu), float(sigma))


def rate_at(step: int, n_steps: int, highest: float) -> float:
    """Learning rate of a step: linear up to the highest, then a cosine down to 1e-6."""
    warm = min(WARM_UP, n_steps)
    if step < warm:
        return highest * (step + 1) / warm
    progress = (step - warm) / (n_steps - warm)
    return LAST_RATE + (highest - LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * progress))


class LevelFit:
    """A fit that goes on step by step.

    Args:
        features, bound: of the world.
        t: the level.
        keys: training rows u8 [n].
        targets: their exact one-step values.
        start: parameters to start from; not changed.
        n_steps: optimiser steps.
        batch: rows per step, drawn without replacement in each epoch; at most n.
        learning_rate, robot_weight: as in `NeuralConfig`.
        order: random numbers of the epochs' order.
    """

    def __init__(
        self,
        features: Features,
        bound: Bound,
        t: int,
        keys: Keys,
        targets: Expansion,
        start: Parameters,
        *,
        n_steps: int,
        batch: int,
        learning_rate: float,
        robot_weight: float,
        order: np.random.Generator,
    ) -> None:
        n = len(keys)
        self.n_rows, self.n_steps, self.t = n, n_steps, t
        self.losses: list[float] = []
        self._features, self._order = features, order
        self._batch, self._rate, self._robot_weight = min(batch, n), learning_rate, robot_weight
        self._seen = features.of(keys)
        upper = bound.at(t, keys).reshape(n, -1)
        log_Vr = np.log(-targets.Vr)
        self.standard = standard_of(log_Vr)
        is_possible = upper > 0.0
        both = [np.where(is_possible, V.reshape(n, -1), 0.0) for V in (targets.Vm, targets.Ve)]
        self._bound = torch.from_numpy(np.concatenate([upper, upper], axis=1).astype(np.float32))
        self._targets = torch.from_numpy(np.concatenate(both, axis=1).astype(np.float32))
        standardised = (log_Vr - self.standard.mu) / self.standard.sigma
        self._robot = torch.from_numpy(standardised.astype(np.float32))
        self._parameters = [torch.from_numpy(array.copy()).requires_grad_() for array in start]
        self._sums = empty_sums(features, start[0].shape[1])
        self._adam = torch.optim.Adam(self._parameters, lr=learning_rate, fused=True)
        self._left = np.empty(0, np.int64)

    @property
    def is_done(self) -> bool:
        """Whether all steps are taken."""
        return len(self.losses) >= self.n_steps

    def advance(self, n_steps: int) -> None:
        """Take some optimiser steps.

        Raises:
            DivergedError: the loss is no finite number.
        """
        with one_thread():
            for _ in range(min(n_steps, self.n_steps - len(self.losses))):
                loss = self._step(self._rows())
                if not math.isfinite(loss):
                    raise DivergedError(f"the loss is {loss} at level {self.t}, step {len(self.losses)}")
                self.losses.append(loss)

    def _rows(self) -> NDArray[np.int64]:
        if len(self._left) < self._batch:
            self._left = self._order.permutation(self.n_rows)
        rows, self._left = self._left[: self._batch], self._left[self._batch :]
        return rows

    def _step(self, rows: NDArray[np.int64]) -> float:
        outputs = trained_outputs(self._features, self._parameters, self._seen.take(rows), self._sums)
        chosen = torch.from_numpy(rows)
        values = self._bound[chosen] * torch.sigmoid(outputs[:, :-1])
        loss = (values - self._targets[chosen]).square().sum()
        loss = (loss + self._robot_weight * (outputs[:, -1] - self._robot[chosen]).square().sum()) / len(rows)
        for group in self._adam.param_groups:
            group["lr"] = rate_at(len(self.losses), self.n_steps, self._rate)
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        return float(loss.detach())

    @property
    def loss(self) -> float:
        """Mean loss of the last epoch."""
        per_epoch = max(1, self.n_rows // self._batch)
        return float(np.mean(self.losses[-per_epoch:]))

    def network(self) -> LevelNetwork:
        """Return what was fitted."""
        return LevelNetwork([array.detach().numpy().copy() for array in self._parameters], self.standard)
