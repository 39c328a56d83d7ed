"""The compiled kernel: trainings, evaluations and gradients of one model on one core, in float32."""

from .graph import Data, Nets, Terms, Work
from .steps import Rule, evaluate, gradient, train_steps
from .tiles import PADDING

__all__ = ["PADDING", "Data", "Nets", "Rule", "Terms", "Work", "evaluate", "gradient", "train_steps"]
