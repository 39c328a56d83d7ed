"""Blocks of model, vectors and eval-vectors, and a trial of tune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.society.traits import TRAITS
from ..errors import Exit, QuintetError
from .table import PRIOR_UNIT, eval_sites
from .voices import use_cache

if TYPE_CHECKING:
    from ...jobs.society.config import RunConfig
    from ..context import Context
    from .voices import Voices


def converted_model(context: Context) -> dict[str, Any]:
    """Convert the model into the cache where it is not there yet, and return its sha256."""
    from ...jobs.society.backend.store import model_folder

    use_cache(context.cache)
    _ = context.inputs
    try:
        sha256 = model_folder(context.config.model_name).sha256
    except (FileNotFoundError, ValueError) as error:
        raise QuintetError(Exit.INPUT, str(error)) from None
    return {"rows/sha256": np.frombuffer(bytes.fromhex(sha256), "u1")[None]}


def vector_rows(voices: Voices, units: range) -> dict[str, Any]:
    """Return the vectors of traits over all blocks, or the calibrated prior."""
    pieces = [_prior(voices) if unit == PRIOR_UNIT else _trait_vectors(voices, TRAITS[unit]) for unit in units]
    rows: dict[str, Any] = {}
    for name in pieces[0]:
        arrays = [piece[name] for piece in pieces]
        rows[f"rows/{name}"] = np.concatenate(arrays)
        rows[f"rows/{name}_length"] = np.array([len(array) for array in arrays])
    return rows


def _trait_vectors(voices: Voices, trait: str) -> dict[str, np.ndarray]:
    from ...jobs.society.contrast import load_contrast_items
    from ...jobs.society.vectors import compute_vectors

    vectors = compute_vectors(voices.backend, {trait: load_contrast_items()[trait]})
    blocks = sorted(vectors.norms[trait])
    quality = [vectors.quality[trait][block] for block in blocks]
    return {
        "directions": np.concatenate([vectors.directions[trait][block] for block in blocks]).astype("f4"),
        "norms": np.array([vectors.norms[trait][block] for block in blocks]),
        "agreement": np.concatenate([np.array(one["agreement"]) for one in quality]),
        "d_prime": np.array([one["d_prime"] for one in quality]),
        "split_half": np.array([one["split_half"] for one in quality]),
        "prior": np.empty(0),
    }


def _prior(voices: Voices) -> dict[str, np.ndarray]:
    from ...jobs.society.calibration import calibrated_prior

    names = ("norms", "agreement", "d_prime", "split_half")
    return {
        "directions": np.empty(0, "f4"),
        **{name: np.empty(0) for name in names},
        "prior": calibrated_prior(voices.backend),
    }


def evaluation_rows(voices: Voices, config: RunConfig, units: range) -> dict[str, Any]:
    """Return what steering a trait at a block does to held-out answers, and whether hooks reach the residual stream."""
    from ...jobs.society.contrast import eval_items
    from ...jobs.society.evaluation import evaluate, undefined
    from ...jobs.society.steering import Steering
    from ...jobs.society.verification import verify_hooks

    sites = eval_sites(config)
    found, errors = [], []
    for unit in units:
        trait, (how, layer) = TRAITS[unit // len(sites)], sites[unit % len(sites)]
        vectors = voices.vectors.orthogonalised(how)
        try:
            found.append(evaluate(voices.backend, vectors, eval_items(), trait, layer))
        except FloatingPointError:
            found.append(undefined(len(eval_items()[trait])))
        _, by_block = verify_hooks(voices.backend, Steering(vectors, (layer,)), {trait: 1.0})
        errors.append(by_block[layer])
    names = ("gaps", "bleed", "random", "loss", "judge")
    rows: dict[str, Any] = {f"rows/{name}": np.stack([getattr(one, name) for one in found]) for name in names}
    return {**rows, "rows/hook_error": np.array(errors)}


def tuning_trial(voices: Voices, config: RunConfig, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a trial of tune is worth, steered as simulate would steer its targeted arm."""
    from ...jobs.society.arms import steering_of
    from ...jobs.society.contrast import eval_items
    from ...jobs.society.tuning import tuned, tuning_score

    targeted = config.model_copy(update={"steering": config.steering.model_copy(update={"mode": "targeted"})})
    steering = steering_of(tuned(targeted, parameters, voices.backend.n_blocks), voices.backend, voices.vectors)
    layers = list(steering.layers)
    try:
        score = tuning_score(voices.backend, eval_items(), steering)
    except FloatingPointError as error:
        return {"value": float("nan"), "attributes": {"layers": layers}, "failure": str(error)}
    attributes = {"layers": layers, "shift": score.shift, "loss": score.loss, "bleed": score.bleed}
    if not np.isfinite(score.value):
        return {"value": float("nan"), "attributes": attributes, "failure": "the model gave no finite scores"}
    return {"value": score.value, "attributes": attributes}
