"""Extraction of persona vectors from contrast items, and how well steering with them works on held-out ones.

For an answer a to prompt P, h_l(a) is the mean output of block l over the answer's tokens. A trait's vector at block l
is the mean over the train items of h_l(high) - h_l(low) (Rimsky et al. 2024, section 3); unlike there, the answers are
sentences, not letters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .contrast import ContrastItem
from .prompts import INTERVIEW_QUESTION
from .steering import PersonaVectors, Steering
from .traits import TRAITS, TraitMap

if TYPE_CHECKING:
    from .backend import Backend


def items_sha256(items: Mapping[str, Sequence[ContrastItem]]) -> str:
    """Return the digest of contrast items."""
    digest = hashlib.sha256()
    for trait, entries in items.items():
        for item in entries:
            digest.update(f"{trait}\0{item.id}\0{item.split}\0{item.stem}\0{item.high}\0{item.low}\n".encode())
    return digest.hexdigest()


def item_question(item: ContrastItem) -> str:
    """Return what the user says in an item's prompt."""
    return f"{item.stem} {INTERVIEW_QUESTION}"


def compute_vectors(
    backend: Backend, items: Mapping[str, Sequence[ContrastItem]], *, layers: Iterable[int] | None = None
) -> PersonaVectors:
    """Return the persona vectors of each trait from its train items.

    Args:
        backend: the model.
        items: contrast items by trait; eval items are passed over.
        layers: the blocks; None: all.

    Raises:
        ValueError: a block does not exist, or a trait has no train items.
    """
    blocks = list(range(backend.n_blocks)) if layers is None else sorted({int(layer) for layer in layers})
    for block in blocks:
        if not 0 <= block < backend.n_blocks:
            raise ValueError(f"layers: found {block}; {backend.name} has blocks 0 to {backend.n_blocks - 1}")
    directions: dict[str, dict[int, Any]] = {}
    norms: dict[str, dict[int, float]] = {}
    quality: dict[str, dict[int, dict[str, Any]]] = {}
    for trait in (letter for letter in TRAITS if letter in items):
        train = [item for item in items[trait] if item.split == "train"]
        if not train:
            raise ValueError(f"items.{trait}: found no train items")
        high, low = answer_means(backend, train, blocks)
        differences = high - low
        directions[trait], norms[trait], quality[trait] = {}, {}, {}
        for place, block in enumerate(blocks):
            mean = differences[:, place].mean(axis=0)
            norm = float(np.sqrt((mean * mean).sum()))
            directions[trait][block], norms[trait][block] = mean, norm
            quality[trait][block] = _quality(high[:, place], low[:, place], mean, norm)
    return PersonaVectors(directions, norms, backend.sha256, quality)


def _quality(high: NDArray[np.float64], low: NDArray[np.float64], mean: Any, norm: float) -> dict[str, Any]:
    """Return how well items agree on a direction.

    `agreement`: cosine of each item's difference with the mean; `d_prime`: difference of the class means along the
    direction over their pooled standard deviation; `split_half`: cosine between odd and even items.
    """
    unit = mean / norm if norm > 0 else mean
    differences = high - low
    lengths = np.sqrt((differences**2).sum(axis=1))
    a, b = high @ unit, low @ unit
    spread = np.sqrt((a.var() + b.var()) / 2.0)
    halves = [differences[start::2].mean(axis=0) for start in (0, 1)] if len(differences) > 1 else [mean, mean]
    scale = float(np.sqrt((halves[0] ** 2).sum() * (halves[1] ** 2).sum()))
    return {
        "agreement": (differences @ unit / np.where(lengths > 0, lengths, 1.0)).tolist(),
        "d_prime": float((a.mean() - b.mean()) / spread) if spread > 0 else float("nan"),
        "split_half": float((halves[0] * halves[1]).sum() / scale) if scale > 0 else float("nan"),
    }


def answer_means(
    backend: Backend, items: Sequence[ContrastItem], blocks: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean block outputs over the tokens of the high and the low answers, f8[items, blocks, hidden] each."""
    shape = (len(items), len(blocks), backend.hidden)
    high, low = np.zeros(shape), np.zeros(shape)
    for number, item in enumerate(items):
        prompt = backend.prompt(item_question(item))
        answers = [backend.tokenizer.encode(item.high), backend.tokenizer.encode(item.low)]
        outputs = backend.engine.answer_outputs(prompt, answers, blocks)
        high[number], low[number] = outputs
    return high, low


def answer_gaps(
    backend: Backend,
    items: Sequence[ContrastItem],
    coefficients: TraitMap | None = None,
    steering: Steering | None = None,
) -> NDArray[np.float64]:
    """Return f8[items], the mean log-probability per token of the high answer minus that of the low one.

    Args:
        backend: the model.
        items: of one trait, say its eval items.
        coefficients: trait map that all answers are steered by.
        steering: doses; None: nothing is added.
    """
    scores = answer_scores(backend, items, coefficients, steering)
    return scores[:, 0] - scores[:, 1]


def answer_scores(
    backend: Backend,
    items: Sequence[ContrastItem],
    coefficients: TraitMap | None = None,
    steering: Steering | None = None,
) -> NDArray[np.float64]:
    """Return f8[items, 2], the mean log-probability per token of the high and of the low answer; as `answer_gaps`."""
    from .backend import Row

    rows, answers = [], []
    for item in items:
        prompt = backend.prompt(item_question(item))
        for text in (item.high, item.low):
            rows.append(Row(prompt, dict(coefficients or {}), 1, 0))
            answers.append(backend.tokenizer.encode(text))
    return backend.answer_logprobs(rows, answers, steering).reshape(-1, 2)
