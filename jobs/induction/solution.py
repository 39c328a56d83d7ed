"""What a solve gives: values and policies of every state, and of the root for every horizon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .params import Params
from .transitions import Store

KEPT = {
    "none": ("Vm", "Ve", "Vr", "Xh"),
    "robot": ("Vm", "Ve", "Vr", "Xh", "Qr", "pi_r", "m_h"),
    "all": ("Vm", "Ve", "Vr", "Xh", "Qr", "pi_r", "m_h", "pi_h"),
}
"""Arrays of a level, by `keep_policies`."""

AT_ROOT = ("Vm", "Ve", "Xh", "Qr", "pi_r", "Vr", "m_h")
"""Arrays of the root, for every horizon."""


def level_name(t: int, name: str) -> str:
    """Return the path of a level's array in a store."""
    return f"level/{t:04d}/{name}"


class StoredLevels(Sequence[NDArray[Any]]):
    """One array of every level t = 0..T-1 in a store, read on access."""

    def __init__(self, store: Store, name: str, sizes: Sequence[int]) -> None:
        self._store, self._name, self._sizes = store, name, sizes

    def __len__(self) -> int:
        return len(self._sizes)

    @overload
    def __getitem__(self, t: int) -> NDArray[Any]: ...

    @overload
    def __getitem__(self, t: slice) -> list[NDArray[Any]]: ...

    def __getitem__(self, t: int | slice) -> NDArray[Any] | list[NDArray[Any]]:
        if isinstance(t, slice):
            return [self[k] for k in range(*t.indices(len(self)))]
        t = range(len(self))[t]
        return self.rows(t, 0, self._sizes[t])

    def rows(self, t: int, start: int, stop: int) -> NDArray[Any]:
        """Return rows start to stop - 1 of level t."""
        return self._store.read(level_name(t, self._name), start, stop)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[t] for t in range(len(self)))


class Solution:
    """Values and policies; level sequences run over t = 0..T-1, row i of level t is `graph.states(t)[i]`.

    Attributes:
        params: the theory they were computed for.
        max_steps: horizon T.
        keep_policies: none, robot or all.
        Vm, Ve: cautious and effective goal-attainment values, per level [n, H, G] in storage dtype.
        Vr: robot values, per level f8 [n].
        Xh: power of every human, per level f8 [n, H].
        Qr, pi_r: robot action values and policy, per level f8 [n, R] (not with "none").
        m_h: marginal human policies, per level f8 [n, H, A] (not with "none").
        pi_h: human policies, per level f8 [n, H, G, A] (only with "all").
        root_by_horizon: arrays of the root whose item k - 1 is with k steps to go: Vm, Ve [T, H, G], Xh [T, H],
            Qr, pi_r [T, R], Vr [T], m_h [T, H, A]; f8, not rounded to the storage dtype.
    """

    Vm: Sequence[NDArray[Any]]
    Ve: Sequence[NDArray[Any]]
    Vr: Sequence[NDArray[np.float64]]
    Xh: Sequence[NDArray[np.float64]]
    Qr: Sequence[NDArray[np.float64]]
    pi_r: Sequence[NDArray[np.float64]]
    m_h: Sequence[NDArray[np.float64]]
    pi_h: Sequence[NDArray[np.float64]]

    def __init__(
        self,
        params: Params,
        keep_policies: str,
        levels: dict[str, Sequence[NDArray[Any]]],
        root_by_horizon: dict[str, NDArray[np.float64]],
    ) -> None:
        self.params = params
        self.max_steps = len(root_by_horizon["Vr"])
        self.keep_policies = keep_policies
        self.root_by_horizon = root_by_horizon
        for name, level in levels.items():
            setattr(self, name, level)

    def level_rows(self, name: str, t: int, start: int, stop: int) -> NDArray[Any]:
        """Return rows start to stop - 1 of one array of level t, without reading the others from a store."""
        levels = getattr(self, name)
        if isinstance(levels, StoredLevels):
            return levels.rows(t, start, stop)
        return levels[t][start:stop]

    def require_policies(self) -> None:
        """Check that the policies were kept.

        Raises:
            ValueError: solved with keep_policies="none".
        """
        if self.keep_policies == "none":
            raise ValueError("the policies were not kept: solve with keep_policies 'robot' or 'all'")
