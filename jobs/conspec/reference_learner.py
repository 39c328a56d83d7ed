"""The plain twins of the learners: one LSTM step at a time, one frame at a time, gradients by autograd.

They read the same parameter vectors as the kernels (layouts in `policy_kernel` and `contrast_kernel`) and compute in
the vector's precision, with nothing de-duplicated, packed or skipped.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .contrast import ContrastiveLoss, contrastive_loss, prototype_scores
from .mixture import policy_loss
from .network import Sizes
from .policy import Chunks
from .policy_kernel import Batch

__all__ = ["PolicyLosses", "contrastive_losses", "policy_losses"]


class PolicyLosses(NamedTuple):
    """The loss on some chunks and its terms (means over steps), and log mu of every step."""

    total: torch.Tensor
    policy: torch.Tensor
    value: torch.Tensor
    entropy: torch.Tensor
    log_mix: torch.Tensor


def split(theta: torch.Tensor, shapes: list[tuple[int, ...]]) -> list[torch.Tensor]:
    """Cut a vector into matrices of given shapes, in order."""
    parts, place = [], 0
    for shape in shapes:
        count = int(np.prod(shape))
        parts.append(theta[place : place + count].reshape(shape))
        place += count
    return parts


def embedded(table: torch.Tensor, bias: torch.Tensor, codes: NDArray[np.uint8], n_codes: int) -> torch.Tensor:
    """ReLU of the linear layer on one-hot cells, for one observation."""
    rows = [table[cell * n_codes + int(code)] for cell, code in enumerate(codes)]
    return torch.relu(bias + torch.stack(rows).sum(0))


def policy_losses(
    theta: torch.Tensor, sizes: Sizes, batch: Batch, chunks: Chunks, chunk_len: int, coefs: tuple[float, float, float]
) -> PolicyLosses:
    """Return the loss of PPO on some chunks; `coefs` are clip, value and entropy coefficient."""
    hid, width, n_actions = sizes.hidden_dim, sizes.lstm_hidden_size, sizes.n_actions
    table, b0, W1, b1, Wx, Wh, b, Wy, by = split(
        theta,
        [
            (sizes.n_cells * sizes.n_codes, hid), (hid,), (hid, hid), (hid,), (hid, 4 * width), (width, 4 * width),
            (4 * width,), (width, n_actions + 1), (n_actions + 1,),
        ],
    )  # fmt: skip
    outs, steps = [], []
    for lane, piece, length in zip(*chunks, strict=True):
        h, c = (torch.as_tensor(states[piece, lane], dtype=theta.dtype) for states in (batch.h0, batch.c0))
        for t in range(piece * chunk_len, piece * chunk_len + length):
            z = embedded(table, b0, batch.codes[batch.slots[t, lane]], sizes.n_codes)
            x = torch.relu(z @ W1 + b1)
            i, f, g, o = (x @ Wx + h @ Wh + b).chunk(4)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outs.append(h @ Wy + by)
            steps.append((t, lane))
    out = torch.stack(outs)
    rows, lanes = np.array(steps).T

    def column(values: NDArray[np.float64]) -> torch.Tensor:
        return torch.as_tensor(values[rows, lanes], dtype=theta.dtype)

    actions = torch.as_tensor(batch.actions[rows, lanes].astype(np.int64))
    eps = torch.as_tensor(np.asarray(batch.epsilon)[lanes], dtype=theta.dtype)
    clip, value_coef, entropy_coef = coefs
    log_mix, _, policy, entropy = policy_loss(
        out[:, :n_actions], actions, eps, column(batch.old_log), column(batch.advantages), clip=clip
    )
    value = ((out[:, n_actions] - column(batch.targets)) ** 2 / 2).mean()
    return PolicyLosses(policy + value_coef * value - entropy_coef * entropy, policy, value, entropy, log_mix)


def contrastive_losses(
    theta: torch.Tensor, sizes: Sizes, episodes: list[NDArray[np.uint8]], n_success: int
) -> ContrastiveLoss:
    """Return the contrastive loss on episodes of codes u1[T_k, D], the first `n_success` of which are successes."""
    hid, n_prototypes = sizes.hidden_dim, sizes.num_prototypes
    table, bias, matrices, vectors = split(
        theta,
        [(sizes.n_cells * sizes.n_codes, hid), (hid,), (n_prototypes, 2, hid, hid), (n_prototypes, hid)],
    )
    longest = max(len(episode) for episode in episodes)
    features = torch.zeros(longest, len(episodes), hid, dtype=theta.dtype)
    valid = torch.zeros(longest, len(episodes), dtype=torch.bool)
    for k, episode in enumerate(episodes):
        features[: len(episode), k] = torch.stack([embedded(table, bias, codes, sizes.n_codes) for codes in episode])
        valid[: len(episode), k] = True
    w1, w2 = (matrices[:, layer].transpose(1, 2) for layer in range(2))
    return contrastive_loss(prototype_scores(features, w1, w2, vectors), n_success, valid=valid)
