"""Forward passes through transformers with hooks: for models that the fused engine does not run.

Offers what the engine offers, row for row; prompts are padded on the left, positions and masks are given explicitly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..steering import steer
from .engine import Architecture, torch_with_current

if TYPE_CHECKING:
    import torch


@dataclass
class HookBatch:
    """Rows in flight: a cache of transformers, the mask of its filled positions, lengths and doses.

    `slots[row]` says in which line of the cache a row lives; lines of dropped rows go on with padding.
    """

    cache: Any
    filled: torch.Tensor | None
    slots: list[int]
    n_slots: int
    lengths: list[int]
    dose: dict[int, torch.Tensor] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows are alive."""
        return len(self.lengths)


class HookEngine:
    """A transformers module behind the engine's interface."""

    shares_prefixes = False

    def __init__(self, module: Any) -> None:
        self.torch = torch_with_current()
        self.module = module
        self.forwards = self.rows = self.tokens = 0
        config = module.config
        heads = config.num_attention_heads
        self.architecture = Architecture(
            blocks=len(module.model.layers),
            hidden=config.hidden_size,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", heads),
            head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
            mlp=getattr(config, "intermediate_size", 0),
            vocabulary=config.vocab_size,
            epsilon=getattr(config, "rms_norm_eps", 1e-6),
            theta=0.0,
            max_position=getattr(config, "max_position_embeddings", 2048),
        )
        table = module.get_input_embeddings().weight
        self.device = table.device if table.device.type != "meta" else self.torch.device("cpu")

    def embedding_table(self) -> torch.Tensor:
        """Return the input embeddings f[vocabulary, hidden]."""
        table: torch.Tensor = self.module.get_input_embeddings().weight.detach()
        if table.device.type == "meta":
            raise ValueError("optimization: the input embeddings lie on disk; give max_cpu_memory_gb more room")
        return table

    def open(self, prefixes: Sequence[None], room: int, dose: Mapping[int, torch.Tensor] | None = None) -> HookBatch:
        """Return a batch of empty rows."""
        from transformers import DynamicCache

        rows = len(prefixes)
        return HookBatch(DynamicCache(), None, list(range(rows)), rows, [0] * rows, dict(dose or {}), list(range(rows)))

    def forward(
        self,
        batch: HookBatch,
        new: Sequence[Sequence[int]],
        steered: Sequence[int],
        wanted: Sequence[Sequence[int]] | None = None,
    ) -> torch.Tensor:
        """Append tokens to all rows and return normed hidden states; see `LlamaEngine.forward`."""
        torch = self.torch
        width = max(len(ids) for ids in new)
        ids = np.zeros((batch.n_slots, width), np.int64)
        mask = np.zeros((batch.n_slots, width), np.int64)
        positions = np.zeros((batch.n_slots, width), np.int64)
        marked = np.zeros((batch.n_slots, width), np.float32)
        for row, (tokens, count) in enumerate(zip(new, steered, strict=True)):
            slot, start = batch.slots[row], width - len(tokens)
            ids[slot, start:] = tokens
            mask[slot, start:] = 1
            positions[slot, start:] = np.arange(batch.lengths[row], batch.lengths[row] + len(tokens))
            marked[slot, width - count :] = 1.0 if count else 0.0
        fresh = torch.from_numpy(mask).to(self.device)
        filled = fresh if batch.filled is None else torch.cat([batch.filled, fresh], dim=1)
        handles = self._hooks(batch, torch.from_numpy(marked))
        try:
            out = self.module.model(
                input_ids=torch.from_numpy(ids).to(self.device),
                attention_mask=filled,
                position_ids=torch.from_numpy(positions).to(self.device),
                past_key_values=batch.cache,
                use_cache=True,
            )
        finally:
            for handle in handles:
                handle.remove()
        batch.filled, batch.cache = filled, out.past_key_values
        for row, tokens in enumerate(new):
            batch.lengths[row] += len(tokens)
        self.forwards += 1
        self.rows += len(new)
        self.tokens += sum(len(tokens) for tokens in new)
        rows_at, columns_at = [], []
        for row, tokens in enumerate(new):
            picked = [len(tokens) - 1] if wanted is None else list(wanted[row])
            rows_at += [batch.slots[row]] * len(picked)
            columns_at += [width - len(tokens) + index for index in picked]
        return out.last_hidden_state[rows_at, columns_at]

    def _hooks(self, batch: HookBatch, marked: Any) -> list[Any]:
        """Register hooks that add the doses at marked positions."""
        torch = self.torch

        def adder(delta: Any) -> Any:
            spread = torch.zeros((batch.n_slots, delta.shape[1]))
            for row, slot in enumerate(batch.slots):
                spread[slot] = delta[row]

            def add(module: Any, inputs: Any, output: Any) -> Any:
                hidden = output if isinstance(output, torch.Tensor) else output[0]
                added = (marked[:, :, None] * spread[:, None, :]).to(hidden.device, hidden.dtype)
                changed = hidden + added
                return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

            return add

        if not marked.any():
            return []
        layers = self.module.model.layers
        return [layers[block].register_forward_hook(adder(delta)) for block, delta in batch.dose.items()]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits f4[rows, vocabulary] of normed hidden states."""
        head = self.module.lm_head
        result = head(hidden.to(getattr(head.weight, "dtype", hidden.dtype)) if _plain(head) else hidden)
        return cast("torch.Tensor", result).float()

    def rewind(self, batch: HookBatch, lengths: Sequence[int]) -> None:
        """Forget the last tokens of rows: their positions are masked."""
        assert batch.filled is not None
        for row, length in enumerate(lengths):
            batch.filled[batch.slots[row], batch.filled.shape[1] - (batch.lengths[row] - length) :] = 0
            batch.lengths[row] = length

    def keep(self, batch: HookBatch, rows: Sequence[int]) -> None:
        """Drop all rows but those given; their lines of the cache stay and are masked."""
        batch.slots = [batch.slots[row] for row in rows]
        batch.lengths = [batch.lengths[row] for row in rows]
        batch.order = [batch.order[row] for row in rows]
        batch.dose = {block: delta[list(rows)] for block, delta in batch.dose.items()}

    def answer_outputs(
        self, prompt: Sequence[int], answers: Sequence[Sequence[int]], blocks: Sequence[int]
    ) -> np.ndarray:
        """Return the mean output of blocks over the tokens of answers to a prompt, f8[answers, blocks, hidden]."""
        torch = self.torch
        seen: dict[int, Any] = {}

        def reader(block: int) -> Any:
            def read(module: Any, inputs: Any, output: Any) -> None:
                seen[block] = (output if isinstance(output, torch.Tensor) else output[0]).detach()

            return read

        result = np.zeros((len(answers), len(blocks), self.architecture.hidden))
        layers = self.module.model.layers
        handles = [layers[block].register_forward_hook(reader(block)) for block in blocks]
        try:
            with torch.inference_mode():
                for number, answer in enumerate(answers):
                    ids = torch.tensor([[*prompt, *answer]], device=self.device)
                    self.module.model(input_ids=ids, use_cache=False)
                    for place, block in enumerate(blocks):
                        result[number, place] = seen[block][0, len(prompt) :].double().mean(dim=0).cpu().numpy()
        finally:
            for handle in handles:
                handle.remove()
        return result

    def last_output(self, ids: Sequence[int], block: int, dose: Mapping[int, torch.Tensor] | None = None) -> np.ndarray:
        """Return the output of a block at the last position of a prompt, f8[hidden]; the dose is added there."""
        torch, seen = self.torch, []

        def read(module: Any, inputs: Any, output: Any) -> None:
            hidden = output if isinstance(output, torch.Tensor) else output[0]
            seen.append(hidden[0, -1].detach().double().cpu().numpy())

        layers = dict(enumerate(self.module.model.layers))
        with torch.inference_mode(), steer(layers, dict(dose or {}), last=1):
            handle = layers[block].register_forward_hook(read)
            try:
                self.module.model(input_ids=torch.tensor([list(ids)], device=self.device), use_cache=False)
            finally:
                handle.remove()
        output: np.ndarray = seen[0]
        return output


def _plain(head: Any) -> bool:
    return type(head).__name__ == "Linear"
