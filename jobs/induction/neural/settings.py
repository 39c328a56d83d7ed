"""Settings of one training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Width = Annotated[int, Field(ge=1)]

MIX_TOLERANCE = 1e-9


class NeuralConfig(BaseModel):
    """Settings of one training.

    Attributes:
        rows: training rows per level, n >= 64.
        beam: rows of a level that the beam keeps, >= rows / 2.
        steps: optimiser steps per level in the first pass (more at the last levels of the horizon), >= 1.
        passes: how often all levels are fitted, >= 1.
        later_share: steps of a later pass as a share of `steps`, > 0.
        batch: rows per optimiser step, >= 16.
        learning_rate: of Adam, at its highest.
        robot_weight: weight of log(-V_r) in the loss.
        hidden: width of the summed embeddings, then of the layers behind them.
        features: what a configuration shows the network; `cells` is always among them.
        mix: shares of beam, visited and perturbed rows in later passes; they sum to 1.
        rollouts: episodes played before each later pass, whose states are the visited rows.

    Raises:
        pydantic.ValidationError: an unknown name, or a value out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(4096, ge=64, description="Training rows per level.")
    beam: int = Field(8192, ge=1, description="Rows of a level that the beam keeps; at least half of rows.")
    steps: int = Field(250, ge=1, description="Optimiser steps per level in the first pass.")
    passes: int = Field(2, ge=1, description="How often all levels are fitted.")
    later_share: float = Field(0.5, gt=0.0, allow_inf_nan=False, description="Steps of a later pass, as a share.")
    batch: int = Field(512, ge=16, description="Rows per optimiser step.")
    learning_rate: float = Field(5e-3, gt=0.0, allow_inf_nan=False, description="Adam's, at its highest.")
    robot_weight: float = Field(8.0, gt=0.0, allow_inf_nan=False, description="Weight of log(-V_r) in the loss.")
    hidden: Annotated[tuple[Width, ...], Field(min_length=1)] = Field(
        (128, 256, 256), description="Width of the summed embeddings and of each layer behind them."
    )
    features: Annotated[tuple[Literal["cells", "window", "pairs"], ...], Field(min_length=1)] = Field(
        ("cells", "window", "pairs"), description="What the network sees; cells is always among them."
    )
    mix: tuple[Share, Share, Share] = Field(
        (0.5, 0.3, 0.2), description="Shares of beam, visited and perturbed rows in later passes."
    )
    rollouts: int = Field(1000, ge=1, description="Episodes played before each later pass.")

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if 2 * self.beam < self.rows:
            raise ValueError(f"beam is {self.beam}; at least half of rows ({self.rows}) is needed")
        if abs(sum(self.mix) - 1.0) > MIX_TOLERANCE:
            raise ValueError(f"mix {list(self.mix)} sums to {sum(self.mix)}; shares must sum to 1")
        if "cells" not in self.features or len(set(self.features)) != len(self.features):
            raise ValueError(f"features are {list(self.features)}; cells, and window and pairs at most once each")
        return self
