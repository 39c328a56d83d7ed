"""Was steering applied, and did it do anything? Four levels, from the log up to behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...jobs.society.conditions import UNDOSED
from ...jobs.society.outcomes import OUTCOMES
from ...jobs.society.traits import TRAIT_NAMES
from ...jobs.society.verification import HOOK_TOLERANCE, NEARLY_ZERO

if TYPE_CHECKING:
    from .evidence import VectorEvidence
    from .results import Result

NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Level:
    """One level's verdict: PASS, FAIL, WARNING or not applicable."""

    name: str
    verdict: str
    reason: str

    @property
    def line(self) -> str:
        """What a person reads."""
        mark = {"PASS": "✓ PASS", "FAIL": "❌ FAIL", "WARNING": "⚠ WARNING"}.get(self.verdict, "– not applicable")
        return f"{mark}: {self.name}: {self.reason}"


def logged_level(result: Result) -> Level:
    """Level 1: doses stand in the log, and differ between residents or conditions."""
    name = "Steering values are present in logs and vary"
    steered = result.where(lambda one: one.arm not in UNDOSED)
    doses = result.values[:, steered][:, :, [OUTCOMES.index(f"dose_{trait}") for trait in TRAIT_NAMES]]
    if not steered or not np.isfinite(doses).any():
        return Level(name, NOT_APPLICABLE, "no condition is steered")
    largest = float(np.nanmax(doses))
    verdict = "PASS" if largest > NEARLY_ZERO else "FAIL"
    return Level(name, verdict, f"largest mean dose of a trait in a unit {largest:.2f}")


def hook_level(model_name: str, evidence: VectorEvidence | None) -> Level:
    """Level 2: hooks change the residual stream by the dose, at every block that simulate steers."""
    name = "Hooks change the residual stream"
    if model_name == "mock":
        return Level(name, NOT_APPLICABLE, "the mock model has no residual stream")
    if evidence is None or not evidence.directions:
        return Level(name, NOT_APPLICABLE, "the phase eval-vectors is not merged")
    worst = max((one.hook_error for one in evidence.steered), default=0.0)
    reason = f"largest error of the change's norm {100 * worst:.3f} % of the dose's"
    return Level(name, "FAIL", reason) if worst > HOOK_TOLERANCE else of_all_blocks(name, reason, evidence)


def of_all_blocks(name: str, reason: str, evidence: VectorEvidence) -> Level:
    """Return that a level is passed, with a warning where steered blocks were not looked at."""
    if not evidence.unseen:
        return Level(name, "PASS", reason)
    blocks = ", ".join(map(str, evidence.unseen))
    return Level(name, "WARNING", f"not looked at: block {blocks}; study.eval_layers can name it")


def held_out_level(model_name: str, evidence: VectorEvidence | None) -> Level:
    """Level 3: held-out answers follow the dose, for every trait."""
    name = "Held-out dose-response is monotone for each trait"
    if model_name == "mock":
        return Level(name, NOT_APPLICABLE, "the mock model answers by a formula")
    if evidence is None or not evidence.directions:
        return Level(name, NOT_APPLICABLE, "the phase eval-vectors is not merged")
    lacking = [f"{one.trait} at block {one.layer}" for one in evidence.steered if not one.gates["monotone"]]
    if lacking:
        return Level(name, "FAIL", f"not for {', '.join(lacking)}")
    return of_all_blocks(name, f"{len(evidence.steered)} directions", evidence)


def behaviour_level(contrasts: pd.DataFrame) -> Level:
    """Level 4: behaviour of targeted residents differs from placebo or none, and from dose 0."""
    name = "Behaviour differs between targeted and placebo or disabled"
    if contrasts.empty or not (contrasts["arm"] == "targeted").any():
        return Level(name, NOT_APPLICABLE, "no targeted condition is compared with another")
    shares = contrasts[(contrasts["arm"] == "targeted") & contrasts["metric"].str.startswith("share_")]
    controlled = (shares["kind"] == "placebo") | shares["against"].str.startswith("disabled")
    chosen = shares[controlled] if controlled.any() else shares
    if chosen["n"].max() < 2:
        return Level(name, NOT_APPLICABLE, "it takes at least two replicates")
    strong = chosen[chosen["p_holm"] < 0.05]
    if strong.empty:
        return Level(name, "WARNING", f"none of {len(chosen)} differences in shares stands after adjustment")
    traits = [TRAIT_NAMES[trait] for trait in dict.fromkeys(strong["trait"]) if trait]
    among = f", of {', '.join(traits)}" if traits else ""
    return Level(name, "PASS", f"{len(strong)} of {len(chosen)} differences in shares stand after adjustment{among}")
