"""Calibration: how likely each verb is before any steering, over a fixed set of prompts.

Verbs differ in how common they are; the prior takes that away, so that a resident prefers what the moment and its
persona make likelier than usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .config import RunConfig
from .prompts import SYSTEM, Moment, resident_block, suggestion_phrase
from .requests import Spoken, Turn
from .residents import sample_residents
from .streams import uniform
from .vocabulary import GOALS, KINDS, MOVE, PLACES, PRESETS, RESEARCH, TALK, WORK

if TYPE_CHECKING:
    from .backend import Backend

CONTEXTS = 32
_SEED = 20251122
_LINES = (
    "I would like to invite everyone to the square this evening.",
    "Has somebody already checked the market schedule?",
    "Let us meet tomorrow and plan the report.",
    "I can help anyone who needs a hand with the citations.",
    "We still need two facts for the report.",
)
_SUGGESTIONS = (TALK, WORK, RESEARCH, MOVE)


def calibration_turns() -> list[Turn]:
    """Return the calibration prompts: all places, roles of all scenarios, companies, utterances and tasks."""
    turns = []
    presets = list(PRESETS.values())
    populations = {
        env: sample_residents(RunConfig(run_id="calibration", model_name="mock", env=env, population=16, seed=_SEED))
        for env in ("research", "policy", "nav")
    }
    for number in range(CONTEXTS):
        draws = iter([uniform(_SEED, 0, number, 0, k) for k in range(12)])

        def pick(n: int, draws: object = draws) -> int:
            return int(next(draws) * n)  # type: ignore[call-overload]

        env = ("research", "policy", "nav")[number % 3]
        residents = populations[env]
        me = pick(len(residents))
        peers = [residents[(me + 1 + step) % len(residents)].name for step in range(number % 3)]
        heard = tuple(f"{name}: {_LINES[pick(len(_LINES))]}" for name in peers)
        preset = presets[pick(len(presets))]
        kind = _SUGGESTIONS[pick(len(_SUGGESTIONS))]
        moment = Moment(
            number % len(PLACES),
            2 + pick(12),
            tuple(peers),
            heard,
            (f"{residents[me].name} wants to {GOALS[pick(len(GOALS))]}",) if number % 2 else (),
            preset.description,
            1 + pick(3),
            suggestion_phrase(kind, (number + 1) % len(PLACES)) if number % 4 else "",
            "",
        )
        block = resident_block(residents[me])
        turns.append(Turn(number, me, SYSTEM, block, moment, (0.0,) * 5, tuple(range(len(KINDS))), _undecided))
    return turns


def _undecided(logprobs: NDArray[np.float64]) -> Spoken:
    return Spoken(TALK, 0, 0.0, "", 0, "never")


def calibrated_prior(backend: Backend) -> NDArray[np.float64]:
    """Return f8[13], the mean unsteered log-probability of each kind's verb over the calibration prompts."""
    from .backend.serving import turn_prompt

    class _Voice:
        config = RunConfig(run_id="calibration", model_name="mock")

    rows = [turn_prompt(backend, turn, _Voice, 1).row for turn in calibration_turns()]
    choice = backend.choose(rows, [kind.verb for kind in KINDS])
    return choice.logprobs.mean(axis=0)
