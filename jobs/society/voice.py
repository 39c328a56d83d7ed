"""The voice of a run: its language model, its steering, and how requests to the model are answered."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .arms import DOSED_ARMS, placebo_map, steering_of
from .config import RunConfig
from .mock import MockBackend
from .requests import Request
from .traits import TRAITS
from .vocabulary import KINDS

if TYPE_CHECKING:
    from .backend import Backend


class Voice:
    """A run's language model with its arm's steering.

    Everything that is costly is made when it is first needed.
    """

    def __init__(self, config: RunConfig, backend: Backend | MockBackend | None, vectors: Any, prior: Any) -> None:
        self.config = config
        self.seed = config.seed
        self._backend = backend
        self._vectors = vectors
        self._prior = None if prior is None else np.asarray(prior, np.float64)
        self._steering: Any = None
        self.is_mock = isinstance(backend, MockBackend) if backend is not None else config.model_name == "mock"
        if self.is_mock and backend is None:
            self._backend = MockBackend()
        self.remembers = not (self.is_mock and config.policy.kind == "heuristic")
        gains = np.array([config.steering.vector_norm[trait] for trait in TRAITS])
        self._gains = config.steering.strength * gains
        self._placebo = [TRAITS.index(trait) for trait in placebo_map(config.seed).values()]

    @property
    def backend(self) -> Any:
        """The language model."""
        if self._backend is None:
            from .backend import backend_for

            self._backend = backend_for(self.config)
        return self._backend

    @property
    def mock(self) -> MockBackend:
        """The back end without a model.

        Raises:
            TypeError: the run has a model.
        """
        if not isinstance(self._backend, MockBackend):
            raise TypeError("this run has a language model")
        return self._backend

    @property
    def prior(self) -> NDArray[np.float64]:
        """f8[13], the mean unsteered log-probability of each kind's verb over the calibration prompts."""
        if self._prior is None:
            if self.is_mock:
                self._prior = np.zeros(len(KINDS))
            else:
                from .calibration import calibrated_prior

                self._prior = calibrated_prior(self.backend)
        return self._prior

    @property
    def steering(self) -> Any:
        """The steering of the run's arm; None where nothing is added."""
        if self._steering is None and not self.is_mock and self.config.arm in DOSED_ARMS:
            self._steering = steering_of(self.config, self.backend, self._vectors)
        return self._steering

    def embed(self, text: str) -> NDArray[np.float32]:
        """Return the embedding of a text."""
        if self.config.optimization.embedding_cache:
            return self.backend.embed(text)
        return getattr(self.backend, "embed_anew", self.backend.embed)(text)

    def logged_doses(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the dose of each trait as logged, strength times gain times coefficient; 0 in arms without vectors."""
        if self.config.arm not in DOSED_ARMS:
            return np.zeros_like(coefficients)
        return coefficients * self._gains

    def mock_doses(self, coefficients: tuple[float, ...]) -> list[float]:
        """Return the dose of each trait that the mock model answers to."""
        doses = [float(gain * value) for gain, value in zip(self._gains, coefficients, strict=True)]
        if self.config.arm in ("targeted", "hybrid"):
            return doses
        mapped = [0.0] * len(TRAITS)
        if self.config.arm == "placebo":
            for source, target in enumerate(self._placebo):
                mapped[target] = doses[source]
        return mapped

    def answered(self, steps: Generator[Request, list[Any], None]) -> Generator[None, None, None]:
        """Drive a tick: answer its requests; yields between batches and between decoding steps."""
        results: list[Any] | None = None
        while True:
            try:
                request = steps.send(results)  # type: ignore[arg-type]
            except StopIteration:
                return
            results = yield from self.backend.serve(request, [self] * len(request.items))
