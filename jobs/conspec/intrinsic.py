"""What a match with an active prototype pays (Sun et al. 2023): a(t), its local peaks, and what is kept of them.

    a_i(t) = scale * c_i(t) where c_i(t) > threshold and i is active, else 0
    peak_i(t) = a_i(t) where a_i(t) >= max_{|d| <= window} a_i(t + d), else 0
    q_i(t) = max(0, peak_i(t) - sum_{d = 1..window} 0.5^(d-1) peak_i(t - d))

Mode `peaks` pays sum_i q_i(t), `once` only each prototype's first positive q_i of an episode, and `potential` pays
sum_i (gamma a_i(t+1) - a_i(t)), which leaves the best policy what it is. There is no wrap-around at the ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .worlds import check_choice

if TYPE_CHECKING:
    import torch

INTRINSIC_MODES = ("once", "peaks", "potential")


def intrinsic_reward(
    scores: torch.Tensor,
    active: torch.Tensor,
    *,
    scale: float,
    mode: str = "once",
    gamma: float | None = None,
    threshold: float = 0.6,
    window: int = 3,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the intrinsic reward of every frame, [T, N]; 0 on invalid frames.

    Args:
        scores: [T, N, P], cosine of each frame with each prototype.
        active: bool[P], which prototypes pay.
        scale: lambda, the size of the reward.
        mode: `once`, `peaks` or `potential`.
        gamma: Discount, needed by `potential`.
        threshold: Score above which a frame counts.
        window: Half-width of a peak, at least 1.
        valid: bool[T, N], the frames that belong to each episode; None means all.

    Raises:
        ValueError: an unknown mode, `potential` without gamma, or a window below 1.
    """
    import torch

    check_choice("intrinsic_mode", mode, INTRINSIC_MODES)
    if mode == "potential" and gamma is None:
        raise ValueError("gamma: missing; mode potential needs it")
    if window < 1:
        raise ValueError(f"window: {window!r}; allowed whole numbers from 1")
    counts = (scores > threshold) & torch.as_tensor(active, dtype=torch.bool, device=scores.device)
    if valid is None:
        shown = torch.ones_like(scores[:, :, 0], dtype=torch.bool)
    else:
        shown = torch.as_tensor(valid, dtype=torch.bool, device=scores.device)
    a = torch.where(counts & shown[:, :, None], scale * scores, torch.zeros_like(scores))
    if mode == "potential":
        assert gamma is not None
        paid = gamma * _shifted(a, -1) - a
    else:
        highest = a
        for distance in range(1, window + 1):
            highest = torch.maximum(highest, torch.maximum(_shifted(a, distance), _shifted(a, -distance)))
        peak = torch.where(a >= highest, a, torch.zeros_like(a))
        before = sum(0.5 ** (distance - 1) * _shifted(peak, distance) for distance in range(1, window + 1))
        paid = (peak - before).clamp_min(0.0)
        if mode == "once":
            paid = paid * ((paid > 0).cumsum(0) == 1)
    return torch.where(shown, paid.sum(-1), torch.zeros_like(paid[:, :, 0]))


def _shifted(values: torch.Tensor, steps: int) -> torch.Tensor:
    """Return `values` moved by `steps` frames towards later times, zeros coming in; [T, N, P]."""
    import torch

    moved = torch.zeros_like(values)
    n_frames = len(values)
    if abs(steps) < n_frames:
        if steps > 0:
            moved[steps:] = values[: n_frames - steps]
        else:
            moved[: n_frames + steps] = values[-steps:]
    return moved
