"""The batched engine: a Llama forward pass over rows of different prompts, doses and lengths.

All new tokens of a batch are packed into one matrix for the linear layers, so that no padding is computed; attention
runs row by row for prompts and over the whole batch for single tokens. Numbers of rows are padded to at least 16 and
lengths of keys to multiples of 16: from there on, the rows of a matrix product and of attention come out with the same
bits whatever the batch holds beside them (see `invariance.py`, which tests it on the machine at hand).

Architecture: Touvron et al. 2023, "LLaMA", section 2.2: RMSNorm before each layer, rotary positions, SwiGLU, grouped
queries (Ainslie et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

LENGTH_STEP = 16
LEAST_ROWS = 16
PIECE_ROWS = 256
"""Tokens of a prompt batch that go through the wide middle of a block at a time: it holds ten times their states."""


def padded(length: int) -> int:
    """Return a length rounded up to the step of attention."""
    return -(-length // LENGTH_STEP) * LENGTH_STEP


@dataclass(frozen=True)
class Architecture:
    """The numbers of a Llama-type model."""

    blocks: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    mlp: int
    vocabulary: int
    epsilon: float
    theta: float
    max_position: int


@dataclass
class Block:
    """Weights of one decoder block; q, k, v and gate, up are fused."""

    norm1: torch.Tensor
    qkv: Any
    out: Any
    norm2: torch.Tensor
    gate_up: Any
    down: Any


@dataclass
class Weights:
    """Weights of a model; `head` is the embedding where they are tied."""

    architecture: Architecture
    embedding: torch.Tensor
    blocks: list[Block]
    norm: torch.Tensor
    head: Any


@dataclass(frozen=True)
class Prefix:
    """Keys and values of a shared beginning of prompts, [blocks, kv heads, tokens, head size].

    They cover the positions behind those of `parent`, which is a beginning of this one.
    """

    ids: tuple[int, ...]
    keys: torch.Tensor
    values: torch.Tensor
    parent: Prefix | None = None

    @property
    def own_tokens(self) -> int:
        """How many positions it holds itself."""
        return int(self.keys.shape[2])


@dataclass
class Batch:
    """Rows in flight: their keys and values by block [rows, kv heads, room, head size], lengths and doses."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    lengths: list[int]
    dose: dict[int, torch.Tensor] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows are alive."""
        return len(self.lengths)


class LlamaEngine:
    """Forward passes with fused weights.

    Attributes:
        forwards, rows, tokens: how many passes were made, and how many rows and tokens went through them.
        shares_prefixes: rows can begin with the keys and values of others.
    """

    shares_prefixes = True

    def __init__(self, weights: Weights) -> None:
        self.torch = torch_with_current()
        self.weights = weights
        self.architecture = weights.architecture
        self.device = weights.embedding.device
        self.dtype = weights.embedding.dtype
        self.forwards = self.rows = self.tokens = 0
        a = self.architecture
        frequency = 1.0 / (a.theta ** (self.torch.arange(0, a.head_size, 2, dtype=self.torch.float32) / a.head_size))
        angles = self.torch.outer(self.torch.arange(a.max_position, dtype=self.torch.float32), frequency)
        turned = self.torch.cat((angles, angles), dim=-1).to(self.device)
        self._cos, self._sin = turned.cos().to(self.dtype), turned.sin().to(self.dtype)
        self._seen: dict[int, torch.Tensor] | None = None

    def open(
        self, prefixes: Sequence[Prefix | None], room: int, dose: Mapping[int, torch.Tensor] | None = None
    ) -> Batch:
        """Return a batch of empty rows, or rows that begin with a prefix.

        Args:
            prefixes: one for each row.
            room: the largest length that a row can reach.
            dose: what is added at the output of blocks, {block: f[rows, hidden]}.
        """
        torch, a = self.torch, self.architecture
        rows, room = len(prefixes), padded(room)
        shape = (rows, a.kv_heads, room, a.head_size)
        # zeros, not empty: masked keys are multiplied by 0, and 0 times what memory held may be NaN
        keys = [torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in range(a.blocks)]
        values = [torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in range(a.blocks)]
        lengths = []
        for row, prefix in enumerate(prefixes):
            length = len(prefix.ids) if prefix else 0
            lengths.append(length)
            part = prefix
            while part is not None:
                end = len(part.ids)
                for block in range(a.blocks):
                    keys[block][row, :, end - part.own_tokens : end] = part.keys[block]
                    values[block][row, :, end - part.own_tokens : end] = part.values[block]
                part = part.parent
        placed = {block: delta.to(self.device, self.dtype) for block, delta in (dose or {}).items()}
        return Batch(keys, values, lengths, placed, list(range(rows)))

    def prefix_of(self, batch: Batch, row: int, ids: Sequence[int], parent: Prefix | None = None) -> Prefix:
        """Return the first `len(ids)` positions of a row as a prefix (a copy)."""
        torch, start, end = self.torch, len(parent.ids) if parent else 0, len(ids)
        keys = torch.stack([block[row, :, start:end] for block in batch.keys])
        values = torch.stack([block[row, :, start:end] for block in batch.values])
        return Prefix(tuple(ids), keys, values, parent)

    def forward(
        self,
        batch: Batch,
        new: Sequence[Sequence[int]],
        steered: Sequence[int],
        wanted: Sequence[Sequence[int]] | None = None,
    ) -> torch.Tensor:
        """Append tokens to all rows and return normed hidden states.

        Args:
            batch: changed in place.
            new: the new tokens of each row, at least one.
            steered: how many of a row's last new tokens are steered.
            wanted: indices of new tokens whose hidden states are returned, by row; None: each row's last.

        Returns:
            f[wanted, hidden], in row order.
        """
        torch = self.torch
        counts = [len(ids) for ids in new]
        total = sum(counts)
        starts = np.concatenate([[0], np.cumsum(counts)]).tolist()
        row_of = np.repeat(np.arange(len(new)), counts)
        positions = np.concatenate(
            [np.arange(past, past + count) for past, count in zip(batch.lengths, counts, strict=True)]
        )
        flat = np.fromiter((token for ids in new for token in ids), np.int64, total)
        fill = max(0, LEAST_ROWS - total)
        if fill:
            flat, positions = np.append(flat, [0] * fill), np.append(positions, [0] * fill)
        x = self.weights.embedding[torch.from_numpy(flat).to(self.device)]
        at = torch.from_numpy(positions).to(self.device)
        cos, sin = self._cos[at][:, None, :], self._sin[at][:, None, :]
        marked = np.concatenate(
            [np.arange(end - count, end) for end, count in zip(starts[1:], steered, strict=True)]
        ).astype(np.int64)
        touched = torch.from_numpy(marked).to(self.device)
        owners = torch.from_numpy(row_of[marked]).to(self.device)
        single = all(count == 1 for count in counts)
        attend = self._attend_single if single else self._attend_rows
        masks = self._single_mask(batch) if single else self._row_masks(batch, counts)
        for index, block in enumerate(self.weights.blocks):
            x = self._block(index, block, x, cos, sin, batch, counts, starts, attend, masks)
            delta = batch.dose.get(index)
            if delta is not None and len(marked):
                x[touched] += delta[owners]
            if self._seen is not None:
                self._seen[index] = x[:total].clone()
        for row, count in enumerate(counts):
            batch.lengths[row] += count
        self.forwards += 1
        self.rows += len(new)
        self.tokens += total
        if wanted is None:
            picked = [end - 1 for end in starts[1:]]
        else:
            picked = [start + index for start, indices in zip(starts, wanted, strict=False) for index in indices]
        return self._norm(x[torch.tensor(picked, device=self.device)], self.weights.norm)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits f4[rows, vocabulary] of normed hidden states."""
        rows = hidden.shape[0]
        if rows < LEAST_ROWS:
            hidden = self.torch.cat([hidden, hidden[-1:].expand(LEAST_ROWS - rows, -1)])
        return linear(hidden, self.weights.head)[:rows].float()

    def answer_outputs(
        self, prompt: Sequence[int], answers: Sequence[Sequence[int]], blocks: Sequence[int]
    ) -> np.ndarray:
        """Return the mean output of blocks over the tokens of answers to a prompt, f8[answers, blocks, hidden]."""
        with self.torch.inference_mode():
            opened = self.open([None], len(prompt))
            self.forward(opened, [prompt], [0])
            prefix = self.prefix_of(opened, 0, prompt)
            batch = self.open([prefix] * len(answers), len(prompt) + max(len(answer) for answer in answers))
            self._seen = {}
            try:
                self.forward(batch, answers, [0] * len(answers))
                seen = self._seen
            finally:
                self._seen = None
        ends = np.cumsum([len(answer) for answer in answers]).tolist()
        outputs = {block: seen[block].double().cpu().numpy() for block in blocks}
        return np.array(
            [
                [outputs[block][end - len(answer) : end].mean(axis=0) for block in blocks]
                for answer, end in zip(answers, ends, strict=True)
            ]
        )

    def embedding_table(self) -> torch.Tensor:
        """Return the input embeddings f[vocabulary, hidden]."""
        return self.weights.embedding

    def rewind(self, batch: Batch, lengths: Sequence[int]) -> None:
        """Forget the last tokens of rows; what stands behind a row's length is never read."""
        batch.lengths[:] = lengths

    def keep(self, batch: Batch, rows: Sequence[int]) -> None:
        """Drop all rows but those given; they may move, `batch.order` says which is where."""
        kept, holes = list(rows), len(rows)
        movers = [row for row in kept if row >= holes]
        staying = set(kept)
        moves = [(target, movers.pop()) for target in range(holes) if target not in staying]
        with self.torch.inference_mode():
            for tensors in (batch.keys, batch.values, batch.dose.values()):
                for tensor in tensors:
                    for target, source in moves:
                        tensor[target] = tensor[source]
            batch.keys = [tensor[:holes] for tensor in batch.keys]
            batch.values = [tensor[:holes] for tensor in batch.values]
            batch.dose = {block: delta[:holes] for block, delta in batch.dose.items()}
        for target, source in moves:
            batch.lengths[target] = batch.lengths[source]
            batch.order[target] = batch.order[source]
        del batch.lengths[holes:], batch.order[holes:]

    def last_output(self, ids: Sequence[int], block: int, dose: Mapping[int, torch.Tensor] | None = None) -> np.ndarray:
        """Return the output of a block at the last position of a prompt, f8[hidden]; the dose is added there."""
        with self.torch.inference_mode():
            batch = self.open([None], len(ids), dose)
            self._seen = {}
            try:
                self.forward(batch, [ids], [1 if dose else 0])
                seen = self._seen
            finally:
                self._seen = None
        output: np.ndarray = seen[block][-1].double().cpu().numpy()
        return output

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        wide = wide * self.torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.architecture.epsilon)
        return weight * wide.to(x.dtype)

    def _block(
        self,
        index: int,
        block: Block,
        x: Any,
        cos: Any,
        sin: Any,
        batch: Batch,
        counts: Any,
        starts: Any,
        attend: Any,
        masks: Any,
    ) -> torch.Tensor:
        torch, a = self.torch, self.architecture
        tokens, queries, keys = x.shape[0], a.heads * a.head_size, a.kv_heads * a.head_size
        fused = linear(self._norm(x, block.norm1), block.qkv)
        turned = fused[:, : queries + keys].view(tokens, a.heads + a.kv_heads, a.head_size)
        half = a.head_size // 2
        rotated = torch.cat((-turned[..., half:], turned[..., :half]), dim=-1)
        turned = turned * cos + rotated * sin
        v = fused[:, queries + keys :].view(tokens, a.kv_heads, a.head_size)
        mixed = attend(index, turned[:, : a.heads], turned[:, a.heads :], v, batch, counts, starts, masks)
        x = x + linear(mixed.reshape(tokens, queries), block.out)
        for part in x.tensor_split(-(-tokens // PIECE_ROWS)):
            gated = linear(self._norm(part, block.norm2), block.gate_up)
            middle = torch.nn.functional.silu(gated[:, : a.mlp]) * gated[:, a.mlp :]
            part += linear(middle, block.down)
        return x

    def _row_masks(self, batch: Batch, counts: Sequence[int]) -> list[tuple[int, int, torch.Tensor]]:
        """Return, for each row, its padded lengths of queries and keys and the causal mask [1, queries, keys]."""
        torch, group = self.torch, self.architecture.heads // self.architecture.kv_heads
        masks, known = [], {}
        for past, count in zip(batch.lengths, counts, strict=True):
            n_queries, n_keys = padded(count), padded(past + count)
            key = (past, n_queries, n_keys)
            if key not in known:
                last = torch.arange(past, past + n_queries, device=self.device)[:, None]
                hidden = torch.arange(n_keys, device=self.device)[None, :] > last
                mask = torch.zeros((n_queries, n_keys), dtype=self.dtype, device=self.device)
                known[key] = mask.masked_fill_(hidden, float("-inf")).repeat(group, 1)
            masks.append((n_queries, n_keys, known[key]))
        return masks

    def _attend_rows(
        self, index: int, q: Any, k: Any, v: Any, batch: Batch, counts: Any, starts: Any, masks: Any
    ) -> torch.Tensor:
        """Attend row by row; the heads of a group stand below each other as queries of their keys."""
        torch, a = self.torch, self.architecture
        group = a.heads // a.kv_heads
        mixed = torch.zeros_like(q)
        for row, (count, (n_queries, n_keys, mask)) in enumerate(zip(counts, masks, strict=True)):
            start, past = starts[row], batch.lengths[row]
            keys, values = batch.keys[index][row], batch.values[index][row]
            keys[:, past : past + count] = k[start : start + count].transpose(0, 1)
            values[:, past : past + count] = v[start : start + count].transpose(0, 1)
            mine = q[start : start + count].view(count, a.kv_heads, group, a.head_size).permute(1, 2, 0, 3)
            if n_queries != count:
                mine = torch.nn.functional.pad(mine, (0, 0, 0, n_queries - count))
            seen = torch.nn.functional.scaled_dot_product_attention(
                mine.reshape(1, a.kv_heads, group * n_queries, a.head_size),
                keys[None, :, :n_keys],
                values[None, :, :n_keys],
                attn_mask=mask,
            )
            seen = seen.view(a.kv_heads, group, n_queries, a.head_size)[:, :, :count]
            mixed[start : start + count] = seen.permute(2, 0, 1, 3).reshape(count, a.heads, a.head_size)
        return mixed

    def _single_mask(self, batch: Batch) -> tuple[int, Any, Any, Any]:
        torch = self.torch
        n_keys = padded(max(batch.lengths) + 1)
        last = torch.tensor(batch.lengths, device=self.device)
        hidden = torch.arange(n_keys, device=self.device)[None, :] > last[:, None]
        mask = torch.zeros((batch.rows, 1, 1, n_keys), dtype=self.dtype, device=self.device)
        mask.masked_fill_(hidden[:, None, None, :], float("-inf"))
        group = self.architecture.heads // self.architecture.kv_heads
        return n_keys, mask.expand(-1, -1, group, -1), torch.arange(batch.rows, device=self.device), last

    def _attend_single(
        self, index: int, q: Any, k: Any, v: Any, batch: Batch, counts: Any, starts: Any, masks: Any
    ) -> torch.Tensor:
        """Attend with one new token in every row."""
        torch, a = self.torch, self.architecture
        n_keys, mask, rows, last = masks
        n = batch.rows
        batch.keys[index][rows, :, last] = k[:n]
        batch.values[index][rows, :, last] = v[:n]
        mixed = torch.zeros_like(q)
        seen = torch.nn.functional.scaled_dot_product_attention(
            q[:n].reshape(n, a.kv_heads, a.heads // a.kv_heads, a.head_size),
            batch.keys[index][:, :, :n_keys],
            batch.values[index][:, :, :n_keys],
            attn_mask=mask,
        )
        mixed[:n] = seen.reshape(n, a.heads, a.head_size)
        return mixed


def linear(x: torch.Tensor, weight: Any) -> torch.Tensor:
    """Return x times the transpose of a weight, which may be quantized (see `quantized.py`)."""
    project = getattr(weight, "project", None)
    return project(x) if project is not None else x @ weight.t()


def torch_with_current() -> Any:
    """Return torch as it is."""
    import torch

    return torch
