"""The compiled simulator: the model of `reference.py` at some ten thousand pairs per second and core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..params import MEMORY_SIZE, PATTERNS, Params
from .beginnings import U
from .pairs import N_COUNTS, N_FLAGS, N_REALS, fill_client, fill_perceived, run_pairs
from .settings import Settings, Workspace, settings_of, workspace

__all__ = ["Beginning", "Outcomes", "beginning", "decode_perceived", "run_client", "simulate"]

PATH_BUFFER = 1 << 22


@dataclass(frozen=True)
class Outcomes:
    """What the kernel returns for n pairs, columns as named in `pairs`; trajectories are empty unless kept."""

    counts: NDArray[np.int64]
    flags: NDArray[np.bool_]
    reals: NDArray[np.float64]
    packed: NDArray[np.uint8]
    baseline_packed: NDArray[np.uint8]


def _run(settings: Settings, work: Workspace, seeds: NDArray[np.uint32], keeps_trajectories: bool) -> Outcomes:
    n = len(seeds)
    size = max(settings.max_sessions, min(n * settings.max_sessions, PATH_BUFFER))
    paths, baseline_paths = np.empty(size, np.uint8), np.empty(size, np.uint8)
    length, baseline_length = np.zeros(1, np.int64), np.zeros(1, np.int64)
    counts = np.empty((n, N_COUNTS), np.int64)
    flags = np.empty((n, N_FLAGS), np.bool_)
    reals = np.empty((n, N_REALS))
    kept: list[NDArray[np.uint8]] = []
    baseline_kept: list[NDArray[np.uint8]] = []
    done = 0
    while done < n:
        done += run_pairs(
            settings,
            seeds[done:],
            work,
            paths,
            length,
            baseline_paths,
            baseline_length,
            counts[done:],
            flags[done:],
            reals[done:],
        )
        if keeps_trajectories:
            kept.append(paths[: length[0]].copy())
            baseline_kept.append(baseline_paths[: baseline_length[0]].copy())
    nothing = [np.empty(0, np.uint8)]
    return Outcomes(counts, flags, reals, np.concatenate(kept or nothing), np.concatenate(baseline_kept or nothing))


def run_client(params: Params, seed: int, u: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Packed baseline trajectory of a client with a utility matrix of its own, f8[8, 8]; u1[sessions]."""
    settings = settings_of(params, params.max_sessions, True)._replace(is_named=True, benefit_scaling=0.0)
    work = workspace(params)
    work.named[:] = u.ravel()
    return _run(settings, work, np.array([seed], np.uint32), True).baseline_packed


def simulate(
    params: Params, seeds: NDArray[np.uint32], horizon: int, stops_at_success: bool, keeps_trajectories: bool
) -> Outcomes:
    """Simulate both therapists for every seed; `horizon` is the session that the V2 therapist plans to.

    Trajectories are written to a buffer of bounded size and collected, or overwritten if they are not kept.
    """
    return _run(settings_of(params, horizon, stops_at_success), workspace(params), seeds, keeps_trajectories)


def decode_perceived(
    packed: NDArray[np.uint8], row_start: NDArray[np.uint64], seeds: NDArray[np.uint32], pattern: str
) -> NDArray[np.uint8]:
    """Perceived octants of packed trajectories, u1 of the length of `packed`."""
    longest = int(np.diff(row_start.astype(np.int64)).max(initial=1))
    perceived = np.empty(len(packed), np.uint8)
    fill_perceived(
        np.ascontiguousarray(packed),
        np.ascontiguousarray(row_start, np.uint64),
        np.ascontiguousarray(seeds, np.uint32),
        PATTERNS.index(pattern),
        workspace(Params(max_sessions=max(1, longest))),
        perceived,
    )
    return perceived


@dataclass(frozen=True)
class Beginning:
    """A client before its first session: u4 words and doubles of its stream, matrix f8[8, 8], memory oldest first."""

    words: NDArray[np.uint32]
    doubles: NDArray[np.float64]
    u: NDArray[np.float64]
    client: NDArray[np.uint8]
    perceived: NDArray[np.uint8]


def beginning(seed: int, pattern: str, u_matrix: str | None = None) -> Beginning:
    """The client of `seed` before its first session, as the kernel sees it.

    Raises:
        pydantic.ValidationError: unknown pattern or matrix.
    """
    params = Params(pattern=pattern, u_matrix=u_matrix, max_sessions=1)  # type: ignore[arg-type]
    work = workspace(params)
    fill_client(np.uint32(seed), settings_of(params, 1, True), work)
    words = work.words[: work.generated[0]]
    doubles = ((words[0::2] >> 5) * 67108864.0 + (words[1::2] >> 6)) / 9007199254740992.0
    return Beginning(
        words=words,
        doubles=doubles,
        u=work.table[U : U + 64].reshape(8, 8).copy(),
        client=work.client[:MEMORY_SIZE].astype(np.uint8),
        perceived=work.perceived[:MEMORY_SIZE].astype(np.uint8),
    )
