"""What steers one trial: the nine searched hyper-parameters and the fixed parameters of the agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

NINE = (
    "num_prototypes",
    "learning_rate",
    "intrinsic_reward_scale",
    "gamma",
    "epsilon_decay",
    "hidden_dim",
    "lstm_hidden_size",
    "batch_size",
    "memory_size",
)
LARGEST = 1_000_000

Count = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]
Real = Annotated[float, Field(strict=True)]
Positive = Annotated[Real, Field(gt=0.0)]
NotNegative = Annotated[Real, Field(ge=0.0)]
Share = Annotated[Real, Field(ge=0.0, le=1.0)]
PositiveShare = Annotated[Real, Field(gt=0.0, le=1.0)]
FAMILY_DEFAULTS = {"grid": (0.95, 0.03), "delayed": (1.0, 0.02)}
"""gae_lambda and entropy_coef of each family. The delayed worlds' only reward comes after up to 245 steps."""


class Agent(BaseModel):
    """The fixed parameters; each can be overridden, and searched when it stands under `hyperparameters`.

    `gae_lambda` and `entropy_coef` are 0.95 and 0.03 in family `grid`, 1.0 and 0.02 in family `delayed`.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    num_envs: Count = 20
    chunk_len: Count = 32
    ppo_epochs: Count = 4
    clip: Positive = 0.2
    gae_lambda: Share | None = None
    entropy_coef: NotNegative | None = None
    value_coef: NotNegative = 0.5
    max_grad_norm: Positive = 0.5
    adam_eps: Positive = 1e-5
    epsilon_start: Share = 1.0
    epsilon_min: Share = 0.01
    conspec: Annotated[bool, Field(strict=True)] = True
    conspec_learning_rate: Positive = 2e-3
    conspec_updates: Count = 4
    score_threshold: Real = 0.6
    criterion_margin: Real = 0.6
    criterion_patience: Annotated[int, Field(strict=True, ge=0, le=LARGEST)] = 25
    window: Count = 3
    diversity_weight: NotNegative = 0.2
    softmax_sharpness: Positive = 100.0
    freeze_memory: Annotated[bool, Field(strict=True)] = True
    intrinsic_mode: Literal["once", "peaks", "potential"] = "once"


class Settings(Agent):
    """All parameters of one trial."""

    num_prototypes: Count = 5
    learning_rate: Positive = 1e-3
    intrinsic_reward_scale: NotNegative = 0.3
    gamma: PositiveShare = 0.98
    epsilon_decay: PositiveShare = 0.995
    hidden_dim: Count = 128
    lstm_hidden_size: Count = 128
    batch_size: Annotated[int, Field(strict=True, ge=2, le=LARGEST)] = 64
    memory_size: Annotated[int, Field(strict=True, ge=1, le=10**9)] = 5000

    @model_validator(mode="after")
    def _epsilons_in_order(self) -> Self:
        if self.epsilon_min > self.epsilon_start:
            raise ValueError(f"epsilon_min {self.epsilon_min} > epsilon_start {self.epsilon_start}")
        return self

    @property
    def lambda_of_gae(self) -> float:
        """lambda of the exponential average of advantages."""
        assert self.gae_lambda is not None
        return self.gae_lambda

    @property
    def entropy_weight(self) -> float:
        """Weight of pi's entropy in the loss."""
        assert self.entropy_coef is not None
        return self.entropy_coef


KNOWN = tuple(Settings.model_fields)
"""Names of all parameters that a trial knows."""


def settings_of(params: Mapping[str, Any], agent: Mapping[str, Any] | None, family: str) -> Settings:
    """Return the settings of a trial: family defaults, then `agent`, then `params`.

    Raises:
        ValueError: an unknown name or a value that is not allowed, in one line.
    """
    chosen = {**(agent or {}), **params}
    for name in chosen:
        if name not in KNOWN:
            raise ValueError(f"{name}: the agent has no such parameter; known: {', '.join(KNOWN)}")
    lambda_, entropy = FAMILY_DEFAULTS[family]
    for name, default in (("gae_lambda", lambda_), ("entropy_coef", entropy)):
        if chosen.get(name) is None:
            chosen[name] = default
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in chosen.items()}
    try:
        return Settings(**plain)
    except ValidationError as error:
        raise ValueError(one_line(error)) from None


def one_line(error: ValidationError) -> str:
    """Return the first fault that pydantic found: name, value, what is allowed."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{name}: {first['input']!r}; {message}" if name else message
