"""ConSpec's arithmetic (Sun et al. 2023): scores of prototypes, and the loss that makes them critical steps.

g_i(z) = ReLU(W2_i ReLU(W1_i z)),   c_i(s) = cos(g_i(z_s), p_i)
m_ik = max_t c_i(s_kt)
cos loss_i = mean_{successes} |1 - m_ik| + mean_{failures} |m_ik|
v_ik = L2-normalised softmax over time of 100 c_i(s_k.),  orth = sum_{successes k} sum_{i != j} |v_ik . v_jk|
L = sum_i cos loss_i + 0.2 (16 / n_S) orth
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

COSINE_FLOOR = 1e-6
REFERENCE_SUCCESSES = 16  # successes in every batch of the authors' code, which the diversity weight belongs to


class ContrastiveLoss(NamedTuple):
    """cos [P], diversity (orth), total (L), and mean |m| per prototype over successes and failures [P]."""

    cos: torch.Tensor
    diversity: torch.Tensor
    total: torch.Tensor
    success_score: torch.Tensor
    failure_score: torch.Tensor


def prototype_scores(
    features: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor, prototypes: torch.Tensor
) -> torch.Tensor:
    """Return the cosine of every frame's projection with every prototype, [T, N, P].

    The denominator is max(|g| |p|, 1e-6).

    Args:
        features: [T, N, F], encoded frames.
        w1: [P, H, F], weights out x in.
        w2: [P, H, H].
        prototypes: [P, H].
    """
    import torch

    hidden = torch.relu(torch.einsum("tnf,phf->tnph", features, w1))
    g = torch.relu(torch.einsum("tnph,pkh->tnpk", hidden, w2))
    dots = (g * prototypes).sum(-1)
    # hypot-free norm whose gradient is 0, not NaN, where every unit of g is off
    squares = (g * g).sum(-1)
    is_on = squares > 0
    norms = torch.where(is_on, squares, torch.ones_like(squares)).sqrt() * is_on
    return dots / (norms * prototypes.norm(dim=-1)).clamp_min(COSINE_FLOOR)


def contrastive_loss(
    scores: torch.Tensor,
    n_success: int,
    *,
    valid: torch.Tensor | None = None,
    diversity_weight: float = 0.2,
    softmax_sharpness: float = 100.0,
) -> ContrastiveLoss:
    """Return the loss on a batch of episodes, the first `n_success` of which are the successes.

    Args:
        scores: [T, N, P], differentiable.
        n_success: Number of successes, at least one and fewer than N.
        valid: bool[T, N], the frames that belong to each episode; None means all.
        diversity_weight: Weight of the diversity term in a batch of 16 successes.
        softmax_sharpness: Factor of the scores in the softmax over time.

    Raises:
        ValueError: no success or no failure in the batch.
    """
    import torch

    if not 0 < n_success < scores.shape[1]:
        raise ValueError(f"n_success {n_success} of {scores.shape[1]} episodes; needed at least one of each kind")
    if valid is None:
        shown = scores
    else:
        shown = scores.masked_fill(~torch.as_tensor(valid, dtype=torch.bool)[:, :, None], -torch.inf)
    best = shown.max(dim=0).values
    success_score = best[:n_success].abs().mean(0)
    failure_score = best[n_success:].abs().mean(0)
    cos = (1 - best[:n_success]).abs().mean(0) + failure_score
    share = torch.softmax(softmax_sharpness * shown[:, :n_success], dim=0)
    v = share / share.norm(dim=0, keepdim=True)
    overlaps = torch.einsum("tki,tkj->kij", v, v).abs()
    diversity = overlaps.sum() - torch.diagonal(overlaps, dim1=1, dim2=2).sum()
    total = cos.sum() + diversity_weight * (REFERENCE_SUCCESSES / n_success) * diversity
    return ContrastiveLoss(cos, diversity, total, success_score, failure_score)
