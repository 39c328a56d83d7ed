"""Open generation, judged by the unsteered model: does a steered text read like that of a high or of a low scorer?

The score of a text is its mean log-probability per token under a prompt that describes a high scorer minus that under
one that describes a low scorer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .contrast import load_contrast_items
from .steering import Steering
from .traits import TraitMap
from .vectors import item_question

if TYPE_CHECKING:
    from .backend import Backend

STEMS = 12
TOKENS = 32

DESCRIPTIONS = {
    "E": ("outgoing, talkative and full of energy among people", "reserved, quiet and happiest alone"),
    "A": ("kind, helpful and trusting", "cold, quarrelsome and selfish"),
    "C": ("organized, hard-working and reliable", "careless, lazy and disorganized"),
    "O": ("curious, imaginative and eager to try new things", "conventional and fond of routine"),
    "N": ("anxious, tense and easily upset", "calm, relaxed and never worried"),
}
"""How a high and a low scorer of each trait is described."""


def judge_systems(trait: str) -> tuple[str, str]:
    """Return the system texts of a high and of a low scorer."""
    high, low = DESCRIPTIONS[trait]
    frame = "You are a resident of a small town. You are {}. You answer in the first person."
    return frame.format(high), frame.format(low)


def judge_questions(trait: str) -> list[str]:
    """Return the questions: the trait's held-out ones, then as many of the others as are lacking.

    Vectors are made from answers, of which the judge sees none; the questions only open the texts.
    """
    items = load_contrast_items()[trait]
    held_out = [item for item in items if item.split == "eval"]
    others = [item for item in items if item.split == "train"]
    return [item_question(item) for item in [*held_out, *others][:STEMS]]


def judged_texts(
    backend: Backend, trait: str, coefficients: TraitMap, steering: Steering | None
) -> NDArray[np.float64]:
    """Return f8[12], the likelihood ratio per token of a greedy text of 32 tokens to each question; NaN for none."""
    from .backend import Row

    questions = judge_questions(trait)
    rows = [
        Row(backend.prompt(question), dict(coefficients), 1, TOKENS, (number, 0))
        for number, question in enumerate(questions)
    ]
    texts = backend.generate(rows, steering, temperature=0)
    ratios = np.full(len(questions), np.nan)
    said = [number for number, text in enumerate(texts) if text.token_ids]
    answers = [texts[number].token_ids for number in said]
    scores = [
        backend.answer_logprobs([Row(backend.prompt(questions[n], system), {}, 1, 0) for n in said], answers)
        for system in judge_systems(trait)
    ]
    ratios[said] = scores[0] - scores[1]
    return ratios
