"""Parameters of the theory: how humans are taken to choose, and what the robot cares for."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

Weights = Literal["uniform", "unit"] | tuple[Annotated[float, Field(ge=0.0, allow_inf_nan=False)], ...]


def set_discounts(model: BaseModel) -> None:
    """Set gamma = exp(-rho) where a rho is given.

    Raises:
        ValueError: gamma and rho are both given, or the discount would be 0.
    """
    for who in ("h", "r"):
        rho = getattr(model, f"rho_{who}")
        if rho is None:
            continue
        if f"gamma_{who}" in model.model_fields_set:
            raise ValueError(f"gamma_{who} and rho_{who} exclude each other; give one (gamma = exp(-rho))")
        discount = math.exp(-rho)
        if discount == 0.0:
            raise ValueError(f"rho_{who} {rho} gives the discount 0; allowed are discounts in (0, 1]")
        vars(model)[f"gamma_{who}"] = discount  # not among the fields that are set


def given_discounts(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values without a gamma that follows from its rho, as they can be given again."""
    return {
        name: value
        for name, value in values.items()
        if not (name.startswith("gamma_") and values.get(name.replace("gamma", "rho")) is not None)
    }


class Params(BaseModel):
    """Parameters of one problem (the defaults are those of the reference implementation's script).

    Attributes:
        beta_h: inverse temperature of the humans, >= 0; inf: uniform over exact maximisers.
        gamma_h, gamma_r: discounts per step in (0, 1]; `rho_h`, `rho_r` >= 0 may be given instead, gamma = exp(-rho).
        beta_r: exponent of the robot's power law, >= 0; inf: uniform over exact maximisers.
        zeta: preference for certainty of goal attainment, > 0.
        xi: inter-human inequality aversion, > 0.
        eta: intertemporal inequality aversion, > 0.
        terminal_Vr: robot value at the horizon, < 0.
        optimistic: humans expect the best robot behaviour instead of the worst.
        human_aggregate: mean or sum over humans in the robot's reward.
        goal_weights: "uniform" (1/G), "unit" (1 each; what a world without a goal list has unless set), or G numbers.
        nu: weight of the habitual policy `pi0` in the humans' choices, in [0, 1].
        pi0: habitual policy, "uniform" or a probability per action.
        power_floor: lower bound of X_h (0: none).

    Raises:
        pydantic.ValidationError: an unknown name, or a value out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    beta_h: float = Field(10.0, ge=0.0)
    gamma_h: float = Field(0.95, gt=0.0, le=1.0)
    beta_r: float = Field(100.0, ge=0.0)
    gamma_r: float = Field(0.99, gt=0.0, le=1.0)
    zeta: float = Field(2.0, gt=0.0, allow_inf_nan=False)
    xi: float = Field(1.0, gt=0.0, allow_inf_nan=False)
    eta: float = Field(1.1, gt=0.0, allow_inf_nan=False)
    terminal_Vr: float = Field(-1e-10, lt=0.0, allow_inf_nan=False)  # noqa: N815
    optimistic: bool = False
    human_aggregate: Literal["mean", "sum"] = "mean"
    goal_weights: Weights = "uniform"
    nu: float = Field(0.0, ge=0.0, le=1.0)
    pi0: Literal["uniform"] | tuple[Annotated[float, Field(ge=0.0, allow_inf_nan=False)], ...] = "uniform"
    power_floor: float = Field(0.0, ge=0.0, allow_inf_nan=False)
    rho_h: float | None = Field(None, ge=0.0, allow_inf_nan=False)
    rho_r: float | None = Field(None, ge=0.0, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _as_given(self, handler: Any) -> Any:
        return given_discounts(handler(self))

    @model_validator(mode="after")
    def _complete(self) -> Self:
        set_discounts(self)
        if not isinstance(self.goal_weights, str):
            if not self.goal_weights:
                raise ValueError("goal_weights is empty; one number per goal is needed")
            if sum(self.goal_weights) <= 0.0:
                raise ValueError("goal_weights are all zero; at least one must be positive")
        if not isinstance(self.pi0, str) and abs(sum(self.pi0) - 1.0) > 1e-9:
            raise ValueError(f"pi0 sums to {sum(self.pi0)}; probabilities must sum to 1")
        return self

    def weights(self, n_goals: int, has_goal_list: bool = True) -> NDArray[np.float64]:
        """Return the weight of every goal, f8 [G].

        Raises:
            ValueError: explicit weights of another length.
        """
        chosen = self.goal_weights
        if not has_goal_list and "goal_weights" not in self.model_fields_set:
            chosen = "unit"
        if isinstance(chosen, str):
            return np.full(n_goals, 1.0 if chosen == "unit" else 1.0 / n_goals)
        if len(chosen) != n_goals:
            raise ValueError(f"goal_weights has {len(chosen)} numbers; the world has {n_goals} goals")
        return np.array(chosen, np.float64)

    def habit(self, n_actions: int) -> NDArray[np.float64]:
        """Return the habitual policy, f8 [A].

        Raises:
            ValueError: a vector of another length.
        """
        if isinstance(self.pi0, str):
            return np.full(n_actions, 1.0 / n_actions)
        if len(self.pi0) != n_actions:
            raise ValueError(f"pi0 has {len(self.pi0)} numbers; the action set has {n_actions} actions")
        return np.array(self.pi0, np.float64)

    @property
    def duration(self) -> float:
        """Weight D of a step's reward: (1 - gamma_r) / (-ln gamma_r), 1 without discount."""
        return 1.0 if self.gamma_r == 1.0 else (1.0 - self.gamma_r) / -math.log(self.gamma_r)
