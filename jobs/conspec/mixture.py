"""The behaviour mu = (1 - eps) pi + eps / A, and the clipped loss (Schulman et al. 2017) on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import torch


class PolicyLoss(NamedTuple):
    """log mu(a) and ratio [M], the clipped loss and the mean entropy of pi."""

    log_mix: torch.Tensor
    ratio: torch.Tensor
    loss: torch.Tensor
    entropy: torch.Tensor


def epsilon(episode: ArrayLike, *, decay: float, start: float = 1.0, minimum: float = 0.01) -> NDArray[np.float64]:
    """Return eps of 0-based episodes, max(minimum, start * decay^episode), f8 of the shape of `episode`."""
    number = np.asarray(episode, np.float64)
    return np.asarray(np.maximum(minimum, start * np.power(float(decay), number)), np.float64)


def policy_loss(
    logits: torch.Tensor, actions: torch.Tensor, epsilon: Any, old_log_mix: Any, advantages: Any, *, clip: float = 0.2
) -> PolicyLoss:
    """Return log mu(a), the ratio to the old mu, -mean min(rho A, clip(rho) A) and the mean entropy of pi.

    Args:
        logits: [M, A] of pi, differentiable.
        actions: i8[M].
        epsilon: [M], share of uniform actions.
        old_log_mix: [M], log mu(a) when the action was taken.
        advantages: [M].
        clip: Half-width of the range of the ratio.
    """
    import torch

    n_actions = logits.shape[-1]
    log_pi = torch.log_softmax(logits, -1)
    pi = log_pi.exp()
    chosen = pi.gather(-1, actions.long()[:, None])[:, 0]
    log_mix = ((1 - epsilon) * chosen + epsilon / n_actions).log()
    ratio = (log_mix - old_log_mix).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    loss = -torch.minimum(ratio * advantages, clipped * advantages).mean()
    entropy = -(pi * log_pi).sum(-1).mean()
    return PolicyLoss(log_mix, ratio, loss, entropy)
