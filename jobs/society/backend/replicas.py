"""Several devices: one replica of the model and one thread for each; rows are shared out in contiguous blocks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..requests import Request
from .core import Backend
from .rows import Choice, Generation, Row
from .serving import request_costs


class ReplicatedBackend:
    """A back end whose rows are computed by several replicas; results stand in row order.

    Args:
        replicas: of one model.
        places: the device of each, for messages.
    """

    def __init__(self, replicas: Sequence[Backend], places: Sequence[str]) -> None:
        self.replicas, self.places = list(replicas), list(places)

    def __getattr__(self, name: str) -> Any:
        """Everything that concerns no rows is the first replica's."""
        return getattr(self.replicas[0], name)

    def shares(self, costs: Sequence[int]) -> list[list[int]]:
        """Return the rows of each replica: contiguous, cut where the sum of costs is nearest to an equal part."""
        sums = np.concatenate([[0], np.cumsum(costs, dtype=np.int64)])
        count = len(self.replicas)
        cuts = [int(np.argmin(np.abs(sums * count - sums[-1] * part))) for part in range(1, count)]
        return [list(range(low, high)) for low, high in pairwise([0, *cuts, len(costs)])]

    def _each(self, costs: Sequence[int], work: Callable[[Backend, list[int]], Any]) -> list[tuple[list[int], Any]]:
        parts = self.shares(costs)

        def run(number: int) -> Any:
            try:
                return work(self.replicas[number], parts[number]) if parts[number] else None
            except Exception as error:
                raise type(error)(f"{self.places[number]}: {error}") from error

        with ThreadPoolExecutor(len(self.replicas)) as pool:
            results = list(pool.map(run, range(len(self.replicas))))
        return [(part, result) for part, result in zip(parts, results, strict=True) if part]

    def generate(self, rows: Sequence[Row], steering: Any = None, **settings: Any) -> list[Generation]:
        """Return a continuation of each row; see `Backend.generate`."""
        results: list[Any] = [None] * len(rows)
        costs = [len(row.ids) + row.max_new_tokens for row in rows]
        for part, done in self._each(
            costs, lambda replica, mine: replica.generate([rows[i] for i in mine], steering, **settings)
        ):
            for index, generation in zip(part, done, strict=True):
                results[index] = generation
        return results

    def choose(self, rows: Sequence[Row], verbs: Sequence[str], steering: Any = None, **settings: Any) -> Choice:
        """Return how likely each verb is after each row; see `Backend.choose`."""
        parts = self._each(
            [len(row.ids) for row in rows],
            lambda replica, mine: replica.choose([rows[i] for i in mine], verbs, steering, **settings),
        )
        if not parts:
            return self.replicas[0].choose(rows, verbs, steering, **settings)
        return Choice(
            np.concatenate([done.logprobs for _, done in parts]),
            np.concatenate([done.probabilities for _, done in parts]),
        )

    def answer_logprobs(
        self, rows: Sequence[Row], answers: Sequence[Sequence[int]], steering: Any = None
    ) -> NDArray[np.float64]:
        """Return the mean log-probability of each answer; see `Backend.answer_logprobs`."""
        result = np.zeros(len(rows))
        for part, done in self._each(
            [len(row.ids) + len(answer) for row, answer in zip(rows, answers, strict=True)],
            lambda replica, mine: replica.answer_logprobs(
                [rows[i] for i in mine], [answers[i] for i in mine], steering
            ),
        ):
            result[part] = done
        return result

    def serve(self, request: Request, voices: Sequence[Any]) -> Generator[None, None, list[Any]]:
        """Answer a request of simulations, each replica its share of the items."""

        def work(replica: Backend, mine: list[int]) -> list[Any]:
            steps = replica.serve(Request(request.kind, [request.items[i] for i in mine]), [voices[i] for i in mine])
            while True:
                try:
                    next(steps)
                except StopIteration as stop:
                    return list(stop.value)

        for voice in voices:
            voice.steering  # noqa: B018  made once, before the threads ask for it
        results: list[Any] = [None] * len(request.items)
        for part, done in self._each(request_costs(self.replicas[0], request, voices), work):
            for index, result in zip(part, done, strict=True):
                results[index] = result
        yield
        return results
