"""Config of the toy study."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Search(Section):
    n_trials: int = Field(12, ge=1, le=10_000)
    sampler: Literal["random", "tpe"] = "tpe"
    fail_every: int = Field(0, ge=0)
    lease_seconds: float = Field(3.0, gt=0)


class Simulate(Section):
    samples: int = Field(50, ge=1)
    per_trial: int = Field(7, ge=1)
    seconds: float = Field(0.0, ge=0)


class Walk(Section):
    steps: int = Field(40, ge=1)
    step_seconds: float = Field(0.0, ge=0)


class Figures(Section):
    title: str = "Toy"


class Config(Section):
    seed: int = 0
    search: Search = Search()
    simulate: Simulate = Simulate()
    levels: int = Field(10, ge=1, le=99)
    walk: Walk = Walk()
    figures: Figures = Figures()
