"""Sizes and first weights of the policy and of ConSpec's network; parameters are one vector each.

Drawn with PyTorch's initialisers from one generator, the policy first: rows of the embedding tables from
N(0, (1.4 / sqrt D)^2), the second encoder layer as PyTorch's linear layers, the LSTM orthogonal with zero biases, the
heads orthogonal with gains 0.01 and 1, ConSpec's projections from N(0, 2 / hid), prototypes from N(0, I).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

EMBEDDING_GAIN = 1.4


@dataclass(frozen=True)
class Sizes:
    """D cells of C codes, widths of encoder and LSTM, A actions, P prototypes."""

    n_cells: int
    n_codes: int
    hidden_dim: int
    lstm_hidden_size: int
    n_actions: int
    num_prototypes: int

    @property
    def policy(self) -> NDArray[np.int64]:
        """Sizes as the policy's kernels read them."""
        return np.array([self.n_cells, self.n_codes, self.hidden_dim, self.lstm_hidden_size, self.n_actions])

    @property
    def conspec(self) -> NDArray[np.int64]:
        """Sizes as ConSpec's kernels read them."""
        return np.array([self.n_cells, self.n_codes, self.hidden_dim, self.num_prototypes])

    @property
    def n_policy(self) -> int:
        """Number of the policy's parameters, D C hid + hid + hid^2 + hid + 4 H (hid + H + 1) + (A + 1) (H + 1)."""
        hid, width = self.hidden_dim, self.lstm_hidden_size
        encoder = self.n_cells * self.n_codes * hid + hid + hid * hid + hid
        return encoder + 4 * width * (hid + width + 1) + (self.n_actions + 1) * (width + 1)

    @property
    def n_conspec(self) -> int:
        """Number of ConSpec's parameters, D C hid + hid + P (2 hid^2 + hid)."""
        hid = self.hidden_dim
        return self.n_cells * self.n_codes * hid + hid + self.num_prototypes * (2 * hid * hid + hid)


def aligned(shape: int | tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """Return zeros that begin at a page, in memory of their own.

    The allocator keeps what it has given out once, and clears all of it when it gives it out again: a process would
    grow from trial to trial. A private mapping takes room only where it is written, and goes back as a whole.
    """
    count = int(np.prod(shape))
    room = mmap(-1, max(count, 1) * np.dtype(dtype).itemsize, MAP_PRIVATE | MAP_ANONYMOUS)
    return np.frombuffer(room, dtype, count).reshape(shape)


def initial_weights(sizes: Sizes, generator: torch.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw the weights of the policy, then those of ConSpec; f4[n_policy] and f4[n_conspec].

    Layouts are those of `policy_kernel` and `contrast_kernel`.
    """
    import torch

    hid, width = sizes.hidden_dim, sizes.lstm_hidden_size

    def normal(rows: int, columns: int, deviation: float) -> torch.Tensor:
        return torch.empty(rows, columns).normal_(0.0, deviation, generator=generator)

    def orthogonal(rows: int, columns: int, gain: float = 1.0) -> torch.Tensor:
        return torch.nn.init.orthogonal_(torch.empty(rows, columns), gain, generator=generator)

    def embedding() -> list[torch.Tensor]:
        table = normal(sizes.n_cells * sizes.n_codes, hid, EMBEDDING_GAIN / math.sqrt(sizes.n_cells))
        return [table, torch.zeros(hid)]

    bound = 1.0 / math.sqrt(hid)
    policy = [
        *embedding(),
        torch.empty(hid, hid).uniform_(-bound, bound, generator=generator).T,
        torch.empty(hid).uniform_(-bound, bound, generator=generator),
        orthogonal(4 * width, hid).T,
        orthogonal(4 * width, width).T,
        torch.zeros(4 * width),
        torch.cat([orthogonal(sizes.n_actions, width, 0.01), orthogonal(1, width, 1.0)]).T,
        torch.zeros(sizes.n_actions + 1),
    ]
    deviation = math.sqrt(2.0 / hid)
    conspec = embedding()
    for _ in range(2 * sizes.num_prototypes):
        conspec.append(normal(hid, hid, deviation).T)
    conspec.append(normal(sizes.num_prototypes, hid, 1.0))
    return _vector(policy), _vector(conspec)


def _vector(parts: list[torch.Tensor]) -> NDArray[np.float32]:
    values = np.concatenate([part.numpy().ravel() for part in parts])
    vector: NDArray[np.float32] = aligned(len(values))
    vector[:] = values
    return vector
