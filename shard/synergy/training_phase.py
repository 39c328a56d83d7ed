"""The phase `train`: a block of units, alone or as one stack, as a long task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...jobs.synergy.config import Config
from ...jobs.synergy.data import Dataset
from ...jobs.synergy.training import Training
from ..errors import Exit, QuintetError
from .rows import block_arrays, units_of


class TrainingBlock:
    """The task of a block of units: the training of all of them, and the rows that it gives."""

    def __init__(self, dataset: Dataset, config: Config, units: range) -> None:
        """Make every unit's initial model."""
        self._config, self._units = config, units
        chosen = units_of(config)[units.start : units.stop]
        self._training = Training(dataset, chosen, config, config.sweep.experiment_type, config.run.backend)

    def advance(self) -> bool:
        """Take some steps; return True while there is more to do."""
        return self._training.advance()

    def state(self) -> Mapping[str, Any]:
        """Return what `restore` needs."""
        return self._training.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of an equal block."""
        self._training.restore(state)

    def result(self) -> Mapping[str, Any]:
        """Return the block's rows."""
        return block_arrays(self._config, self._units, self._training.result())


def check_device(config: Config) -> None:
    """Refuse a machine without the device that the config names: exit 69."""
    if config.run.device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise QuintetError(
            Exit.UNAVAILABLE, "run.device: found 'cuda', but PyTorch sees no GPU here; allowed is cpu, or a GPU node"
        )
