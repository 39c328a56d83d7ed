"""Final weights of finished trials, kept beside the results: `cache/models/<world>/t<number>.h5`.

They are in no digest and no result rests on them: where a file is gone, the trial gives the same weights again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...jobs.conspec.analysis import best_of
from ..partial import Card, build, read_arrays
from ..publish import replace_file, valid_card
from ..scan import TRIAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..context import Context
    from ..trials import FinishedTrial


def best_number(finished: Sequence[FinishedTrial], direction: str) -> int | None:
    """Return the number of the best COMPLETE trial, the lowest one among equals; None without one."""
    import numpy as np

    complete = sorted((trial for trial in finished if trial.state == "COMPLETE"), key=lambda trial: trial.number)
    if not complete:
        return None
    values = np.array([np.nan if trial.value is None else trial.value for trial in complete])
    return complete[best_of(values, direction)].number


class Models:
    """The weights of one world's trials."""

    def __init__(self, context: Context, world: str) -> None:
        """Name the folder; nothing is read."""
        self._context = context
        self._folder = context.run.path / "cache" / "models" / world

    def path(self, number: int) -> Path:
        """Return where a trial's weights lie."""
        return self._folder / f"t{number:06d}.h5"

    def save(self, number: int, weights: Mapping[str, NDArray[Any]]) -> None:
        """Write a trial's weights, whole or not at all."""
        arrays = {f"rows/{name}": values for name, values in weights.items()}
        content, _ = build(self._card(number), arrays, {})
        replace_file(self.path(number), content)

    def load(self, number: int) -> dict[str, NDArray[Any]] | None:
        """Return a trial's weights; None where no whole file of this search stands."""
        card, own = valid_card(self.path(number)), self._card(number)
        if card is None or (card.cfg, card.phase, card.shard) != (own.cfg, own.phase, own.shard):
            return None
        return {name.removeprefix("rows/"): array for name, array in read_arrays(self.path(number)).items()}

    def keep_best(self, finished: Sequence[FinishedTrial], direction: str) -> int | None:
        """Remove the weights of decided trials that are not the best one, and return that one's number.

        A trial that is not the best now never will be, so that workers may do this side by side.
        """
        best = best_number(finished, direction)
        decided = {trial.number for trial in finished} - {best}
        for path in self._folder.glob("t*.h5"):
            match = TRIAL.fullmatch(path.name)
            if match and int(match.group(1)) in decided:
                with suppress(FileNotFoundError):
                    path.unlink()
        return best

    def _card(self, number: int) -> Card:
        plan = self._context.plan
        return Card(plan.study, plan.phase, number, number, number + 1, plan.config_sha256[:16], "", units=1)
