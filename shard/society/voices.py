"""The language model of a process: loaded once, with the vectors and the prior of the run."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.society.traits import TRAITS
from ..errors import Exit, QuintetError
from .table import PRIOR_UNIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...jobs.society.config import RunConfig
    from ...jobs.society.steering import PersonaVectors
    from ..context import Context


def use_cache(folder: Path) -> None:
    """Let converted models be read from a run's cache, or from the user's where one stands there already."""
    if os.environ.get("QUINTET_CACHE"):
        return
    own = Path.home() / ".cache" / "quintet"
    shared = (own / "models").is_dir() and not (folder / "models").is_dir()
    os.environ["QUINTET_CACHE"] = str(own if shared else folder)


class Voices:
    """What the units of a process share."""

    def __init__(self, context: Context) -> None:
        """Keep the context."""
        self._context = context
        self._config: RunConfig = context.config

    @cached_property
    def backend(self) -> Any:
        """The language model.

        Raises:
            QuintetError: exit 69 where a GPU that was planned is not there, 65 where the model cannot be read.
        """
        from ...jobs.society.backend import backend_for

        use_cache(self._context.cache)
        self._check_devices()
        self._check_files()
        try:
            return backend_for(self._config)
        except (FileNotFoundError, ValueError) as error:
            raise QuintetError(Exit.INPUT, str(error)) from None

    def _check_devices(self) -> None:
        wanted = [place for place in self._config.optimization.devices if place.startswith("cuda")]
        if not wanted:
            return
        from ...jobs.society.backend.runtime import torch_with

        torch = torch_with(self._config.engine.threads)
        known = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        lacking = [place for place in wanted if (place if ":" in place else f"{place}:0") not in known]
        if lacking:
            raise QuintetError(Exit.UNAVAILABLE, f"optimization.devices: {lacking[0]} was planned, and is not here")

    def _check_files(self) -> None:
        """Hold the files from outside against their planned digests."""
        if self._config.inputs:
            _ = self._context.inputs

    @cached_property
    def vectors(self) -> PersonaVectors:
        """The persona vectors of the run: given ones, or those of the phase vectors."""
        if "vectors" in self._config.inputs:
            from ...jobs.society.library import load_vectors

            return load_vectors(Path(self._config.inputs["vectors"]).parent)
        with self._context.result("vectors") as file:
            return stored_vectors(file, self.backend.sha256)

    @cached_property
    def prior(self) -> np.ndarray:
        """f8[13], the calibrated prior."""
        if "vectors" in self._config.inputs:
            from ...jobs.society.calibration import calibrated_prior

            return calibrated_prior(self.backend)
        with self._context.result("vectors") as file:
            offsets = file["rows/prior_offsets"][()]
            return np.asarray(file["rows/prior"][offsets[PRIOR_UNIT] : offsets[PRIOR_UNIT + 1]])

    def arguments(self) -> dict[str, Any]:
        """Return what simulations take; nothing where there is no model."""
        if self._config.model_name == "mock":
            return {}
        return {"backend": self.backend, "vectors": self.vectors, "prior": self.prior}

    def tuned(self, config: RunConfig) -> RunConfig:
        """Return the config of a unit with the blocks and gains of the best trial."""
        from ...jobs.society.tuning import tuned

        return tuned(config, self._best_trial, self.backend.n_blocks)

    @cached_property
    def _best_trial(self) -> Mapping[str, Any]:
        with self._context.result("tune") as file:
            return best_parameters(file)


def best_parameters(file: Any, what: str = "parameters") -> dict[str, Any]:
    """Return the parameters (or `attributes`) of the best finished trial in the result of tune, the first among equals.

    Raises:
        QuintetError: exit 65 where no trial has a value.
    """
    import json

    values = np.where(file["rows/failed"][()] == 0, file["rows/value"][()], -np.inf)
    if not np.isfinite(values).any():
        raise QuintetError(Exit.INPUT, "phase tune: no trial has a value")
    row = int(np.argmax(values))
    offsets = file[f"rows/{what}_offsets"][()]
    return dict(json.loads(file[f"rows/{what}"][offsets[row] : offsets[row + 1]].tobytes()))


def stored_vectors(file: Any, sha256: str) -> PersonaVectors:
    """Return the vectors in the result of the phase vectors."""
    from ...jobs.society.steering import PersonaVectors

    norms: dict[str, dict[int, float]] = {}
    directions: dict[str, dict[int, Any]] = {}
    norm_offsets, offsets = file["rows/norms_offsets"][()], file["rows/directions_offsets"][()]
    for unit, trait in enumerate(TRAITS):
        mine = file["rows/norms"][norm_offsets[unit] : norm_offsets[unit + 1]].tolist()
        rows = file["rows/directions"][offsets[unit] : offsets[unit + 1]].reshape(len(mine), -1)
        norms[trait] = dict(enumerate(mine))
        directions[trait] = dict(enumerate(rows))
    return PersonaVectors(directions, norms, sha256)
