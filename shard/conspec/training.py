"""One trial as the shard drives it: learns batch by batch, tells its tracker, and becomes the arrays of a partial."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...jobs.conspec.metrics import COST
from .advice import MEMORY_ADVICE
from .rows import arrays_of
from .tracking import NoTracker, Tracker, summary_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...jobs.conspec.trial import TrialResult

ATTRIBUTES = ("success_rate", "max_reward")


class Training:
    """A trial that can stop after any batch of episodes and go on to the same bits."""

    def __init__(
        self,
        arguments: Mapping[str, Any],
        metric: str,
        *,
        log_frequency: int = 100,
        checkpoint_frequency: int = 1000,
        tracker: Tracker | None = None,
    ) -> None:
        """Prepare a trial; nothing is learnt yet.

        Args:
            arguments: keywords of the trial.
            metric: which final metric is the trial's value.
            log_frequency: episodes between two rows of the tracker.
            checkpoint_frequency: episodes between two checkpoints.
            tracker: takes the rows; None keeps none.
        """
        from ...jobs.conspec.trial import Trial

        self._trial = Trial(**arguments)
        self._metric = metric
        self._log_frequency, self._checkpoint_frequency = log_frequency, checkpoint_frequency
        self._tracker = tracker or NoTracker()
        self._attempts, self._started = 1, int(time.time())
        self._rewound = False
        self._due = False
        self._result: TrialResult | None = None

    def advance(self) -> bool:
        """Learn from one batch of episodes."""
        if not self._rewound:
            self._rewind()
        before = self._trial.done
        try:
            more = self._trial.advance()
        except MemoryError as error:
            raise MemoryError(MEMORY_ADVICE) from error
        after, step = self._trial.done, self._log_frequency
        for episode in range((before // step + 1) * step, after + 1, step):
            self._tracker.log(self._trial.tracked(episode))
        self._due = after // self._checkpoint_frequency > before // self._checkpoint_frequency
        return more

    def due(self) -> bool:
        """Whether so many episodes are done since the last multiple that a checkpoint shall be kept."""
        return self._due

    def state(self) -> dict[str, Any]:
        """Return arrays and JSON values."""
        return {**self._trial.state(), "attempts": self._attempts, "started": self._started}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state made by an equal trial."""
        self._trial.restore(state)
        self._attempts, self._started = int(state["attempts"]) + 1, int(state["started"])
        self._rewind()

    def _rewind(self) -> None:
        self._tracker.rewind(self._trial.done)
        self._rewound = True

    @property
    def weights(self) -> dict[str, NDArray[Any]] | None:
        """Final weights of policy and ConSpec; None before the end and where the trial failed."""
        if self._result is None or self._result.failure is not None:
            return None
        return dict(self._result.weights)

    def result(self) -> dict[str, Any]:
        """Return the arrays, the value, and why the trial failed, if it did."""
        result = self._trial.result()
        self._result = result
        cost = {**{name: result.metrics[name] for name in COST}, "attempts": self._attempts}
        clocks = {"started": self._started, "finished": int(time.time())}
        value = float(result.metrics[self._metric])
        found = arrays_of(result, self._trial.settings.model_dump(), cost, clocks)
        if result.failure is not None:
            return {**found, "failure": result.failure}
        self._tracker.finish(summary_of(result.metrics))
        return {**found, "value": value, "attributes": {name: result.metrics[name] for name in ATTRIBUTES}}
